"""The command line `detr-hf`: a module for each command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from detr_hf import __version__
from detr_hf.cli import app, check, compare, demo, evaluate, export, predict, prepare, push, report, train
from detr_hf.errors import told_plainly

COMMANDS = {
    "prepare": prepare,
    "check": check,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "report": report,
    "compare": compare,
    "push": push,
    "export": export,
    "app": app,
    "demo": demo,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a fault of the user's ends it with exit code 2 and one message."""
    arguments = build_parser().parse_args(argv)
    with told_plainly():
        arguments.run(arguments)


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = _Parser(prog="detr-hf", description="The command line of detr-hf.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


class _Parser(argparse.ArgumentParser):
    """Takes `key=value` behind flags too; argparse alone wants all of them in one place."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        late = [word for word in rest if "=" in word and not word.startswith("-")]
        if len(late) < len(rest) or (late and not hasattr(found, "overrides")):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        if late:
            found.overrides = [*found.overrides, *late]
        return found
