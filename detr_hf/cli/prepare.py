"""`detr-hf prepare`: annotated images in any format to one data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such

if TYPE_CHECKING:
    from detr_hf.recipe.prepare import PrepareRecipe

HELP = "Make one panoptic data set from annotated images: repaired, split, with stuff labeled by a model."
PLACE = 1
EXAMPLES = (
    "detr-hf prepare data/raw data/prepared pseudo_stuff.enabled=false",
    "detr-hf prepare data/raw data/prepared --recipe recipes/dataset.yaml --strict",
)
PAGE = "prepare.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("path", help="class folders, COCO, YOLO, VOC or another format; it is not changed")
    parser.add_argument("out", help="folder of the data set; the same command resumes an interrupted one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example split.folds=5")
    parser.add_argument(
        "--recipe", dest="prepare_recipe", help="a file of settings (default: those of the page below)"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first issue instead of repairing")
    parser.add_argument(
        "--only",
        choices=("repair", "pseudo", "split", "write", "report"),
        help="run one step; those before it must be done",
    )
    parser.add_argument("--push-to-hub", metavar="NAME", help="publish the data set, private, as user/name")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe.prepare import load_prepare_recipe

    recipe = load_prepare_recipe(arguments.prepare_recipe, arguments.overrides)
    if not Path(arguments.path).exists() and recipe.read.format != "hub":
        raise UserError(f"{arguments.path}: {no_such(arguments.path)}")
    if arguments.push_to_hub:
        _refuse_unpublishable(arguments.push_to_hub, recipe)
    from detr_hf.demo.resolve import pipeline_of

    out = Path(arguments.out)
    pipeline = pipeline_of(Path(arguments.path), out, recipe, arguments.strict)
    print(f"{arguments.path} is read as {pipeline.format}", flush=True)
    pipeline.run(arguments.only)
    if arguments.push_to_hub:
        from detr_hf.hub.push import push_dataset
        from detr_hf.recipe import Hub

        print(f"{out} is on the Hub: {push_dataset(out, Hub(repo_id=arguments.push_to_hub))}")
    if arguments.only not in (None, "report"):
        print(f"step {arguments.only} done: {out}")
        return
    with (out / "prepare_report.md").open(encoding="utf-8") as report:
        print(f"{out}: {report.readlines()[2].strip()} All repairs and drops: {report.name}")
    if recipe.split.folds is None:
        print(f"\nnext:\n  detr-hf train {out}")


def _refuse_unpublishable(name: str, recipe: PrepareRecipe) -> None:
    """Before the work begins: what would fail after it."""
    from detr_hf.recipe.repo_ids import fault_of_repo_id

    if fault := fault_of_repo_id(name):
        raise UserError(f"--push-to-hub: {fault}.")
    if recipe.split.folds is not None:
        raise UserError(
            "--push-to-hub: publishes one train and one validation split, and split.folds makes several. "
            "Leave one out; `detr-hf push` publishes a single fold later."
        )
    from detr_hf.hub.access import check_access
    from detr_hf.recipe import Hub

    check_access(Hub(repo_id=name, license=recipe.write.license), "dataset")
