"""The command line `detr-hf`: each file of this folder with a `HELP` is a command.

A command has `HELP`, `PLACE` (where it stands in `detr-hf --help`), `EXAMPLES` (two command lines),
`PAGE` (its page in docs/), `add_arguments` and `run`, and imports what is heavy inside `run`, after its
arguments are checked.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from detr_hf import __version__
from detr_hf.doc_pages import doc_page
from detr_hf.errors import UserError, exit_with_message

OTHER_NAMES = {
    "train": ("fit", "finetune", "fine-tune", "tune", "resume"),
    "evaluate": ("val", "validate", "test", "eval", "score", "benchmark"),
    "predict": ("detect", "infer", "inference", "segment", "track"),
    "check": ("verify", "info", "stats"),
    "init": ("new", "create", "config", "configure"),
    "app": ("serve", "gui", "ui", "web", "gradio"),
    "push": ("upload", "publish"),
}
"""What other trainers call a command."""


def find_commands() -> dict[str, ModuleType]:
    """The modules of the commands by name, in the order of a project: data, training, its results."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    commands = {name: module for name, module in modules.items() if hasattr(module, "HELP")}
    return dict(sorted(commands.items(), key=lambda item: item[1].PLACE))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a fault of the user's ends it with exit code 2 and one message. No word: the help."""
    words = sys.argv[1:] if argv is None else argv
    with exit_with_message():
        if words and not words[0].startswith("-"):
            _require_command(words[0])
        arguments = build_parser().parse_args(words or ["--help"])
        arguments.run(arguments)


def _require_command(word: str) -> None:
    """Refuse a word that is no command, with the one that is probably meant."""
    names = {other: name for name, others in OTHER_NAMES.items() for other in (*others, name)}
    names |= {name: name for name in find_commands()}
    if names.get(word) == word:
        return
    meant = names.get(word.lower())
    if meant is None and (Path(word).exists() or word.endswith((".yaml", ".yml"))):
        meant = f"train {word}"
    elif meant is None and (close := get_close_matches(word.lower(), names, n=1)):
        meant = names[close[0]]
    question = f" Did you mean `detr-hf {meant}`?" if meant else ""
    raise UserError(f"{word}: is no command.{question} `detr-hf --help` lists them.")


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = _Parser(prog="detr-hf", description="The command line of detr-hf.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in find_commands().items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=_epilog(module),
            formatter_class=argparse.RawDescriptionHelpFormatter,  # keeps the lines of the epilog
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _epilog(module: ModuleType) -> str:
    """What ends the help of a command: two examples, and where to read on."""
    return "\n".join(
        ["examples:", *(f"  {line}" for line in module.EXAMPLES), "", f"page: {doc_page(module.PAGE)}"]
    )


def _setting_meant(found: argparse.Namespace, rest: list[str]) -> str:
    """What the refusal of a flag adds where settings are meant, as in `--epochs 5`."""
    if not hasattr(found, "overrides"):
        return ""
    flag = rest[0].lstrip("-").partition("=")[0].replace("-", "_")
    from detr_hf.recipe.faults import OTHER_NAMES  # pydantic, which help needs not
    from detr_hf.recipe.overrides import SHORT_KEYS

    settings = OTHER_NAMES | SHORT_KEYS | {"output_dir": "output_dir"}
    setting = settings.get(flag, "optim.epochs")
    return f". A setting is written as {setting}=...; {doc_page('recipes.md')} has all"


class _Parser(argparse.ArgumentParser):
    """Takes `key=value` behind flags too; argparse alone wants all of them in one place."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        late = [word for word in rest if "=" in word and not word.startswith("-")]
        if len(late) < len(rest) or (late and not hasattr(found, "overrides")):
            self.error(f"unrecognized arguments: {' '.join(rest)}{_setting_meant(found, rest)}")
        if late:
            found.overrides = [*found.overrides, *late]
        return found
