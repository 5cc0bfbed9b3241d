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
from importlib import import_module
from types import ModuleType
from typing import Any

from detr_hf import __version__
from detr_hf.errors import exit_with_message

# Flags of other trainers, and the settings that do it here.
SETTINGS_OF_FLAGS = {
    "epochs": "optim.epochs",
    "max_steps": "optim.max_steps",
    "batch": "optim.batch_size",
    "batch_size": "optim.batch_size",
    "lr": "optim.lr",
    "output_dir": "output_dir",
}


def find_commands() -> dict[str, ModuleType]:
    """The modules of the commands by name, in the order of a project: data, training, its results."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    commands = {name: module for name, module in modules.items() if hasattr(module, "HELP")}
    return dict(sorted(commands.items(), key=lambda item: item[1].PLACE))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a fault of the user's ends it with exit code 2 and one message. No word: the help."""
    words = sys.argv[1:] if argv is None else argv
    arguments = build_parser().parse_args(words or ["--help"])
    with exit_with_message():
        arguments.run(arguments)


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
        ["examples:", *(f"  {line}" for line in module.EXAMPLES), "", f"page: docs/{module.PAGE}"]
    )


def _setting_meant(found: argparse.Namespace, rest: list[str]) -> str:
    """What the refusal of a flag adds where settings are meant, as in `--epochs 5`."""
    if not hasattr(found, "overrides"):
        return ""
    flag = rest[0].lstrip("-").partition("=")[0].replace("-", "_")
    setting = SETTINGS_OF_FLAGS.get(flag, "optim.epochs")
    return f". A setting is written as {setting}=...; docs/recipes.md has all"


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
