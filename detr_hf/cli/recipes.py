"""`detr-hf recipes`: the recipes that come with the package."""

from __future__ import annotations

import argparse
from itertools import takewhile

HELP = "List the recipes and launch files that come with the package, or print one."
PLACE = 2.7
EXAMPLES = ("detr-hf recipes", "detr-hf recipes panoptic")
PAGE = "recipes.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("name", nargs="?", help="print this one, to start a file of your own")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe.shipped import shipped_files, shipped_recipe

    if arguments.name is not None:
        print(shipped_recipe(arguments.name).read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, shipped_files()))
    for name, file in shipped_files().items():
        print(f"{name:{width}}  {_first_sentence(file.read_text(encoding='utf-8'))}")


def _first_sentence(text: str) -> str:
    """Of the comment that a recipe begins with; lines that are indented in it are commands."""
    lines = takewhile(lambda line: line.startswith("# ") and not line.startswith("#  "), text.splitlines())
    return " ".join(line[2:] for line in lines).partition(". ")[0].rstrip(".:")
