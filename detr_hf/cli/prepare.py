"""`detr-hf prepare`: raw class folders to one data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "From raw class folders to one data set, mended, split and documented."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("raw", help="a folder with <class>/images and <class>/coco.json; only read")
    parser.add_argument("out", help="folder of the data set; the same command goes on where it was killed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example split.folds=5")
    parser.add_argument(
        "--recipe", dest="prepare_recipe", help="settings, as in recipes/dataset.yaml (default: those)"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first fault instead of mending")
    parser.add_argument(
        "--only",
        choices=("read", "mend", "merge", "pseudo", "split", "write", "report"),
        help="one step, whose forerunners are done",
    )
    parser.add_argument("--push-to-hub", metavar="NAME", help="publish the data set, private, as user/name")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe.prepare import load_prepare_recipe

    recipe = load_prepare_recipe(arguments.prepare_recipe, arguments.overrides)
    from detr_hf.prepare.raw.pipeline import Pipeline

    def teacher() -> Any:
        from detr_hf.demo.resolve import model_path
        from detr_hf.teacher import load_teacher

        stuff = recipe.pseudo_stuff
        return load_teacher(model_path(stuff.teacher), stuff.revision, stuff.short_edge)

    out = Path(arguments.out)
    Pipeline(Path(arguments.raw), out, recipe, teacher, arguments.strict).run(arguments.only)
    if arguments.push_to_hub:
        from detr_hf.prepare.raw.writing.publishing import push_to_hub

        push_to_hub(out, arguments.push_to_hub)
    if arguments.only not in (None, "report"):
        print(f"step {arguments.only} done: {out}")
        return
    with (out / "prepare_report.md").open(encoding="utf-8") as report:
        print(f"{out}: {report.readlines()[2].strip()} What was mended and dropped: {report.name}")
