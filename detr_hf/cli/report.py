"""`detr-hf report`: the page of a finished run."""

from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from detr_hf.cli.number_types import count, share
from detr_hf.errors import UserError

HELP = "Write the report of a finished run again: report.html, report.md and report.json."
PLACE = 6
EXAMPLES = (
    "detr-hf report runs/my_photos/panoptic",
    "detr-hf report runs/my_photos/detection --threshold 0.5 --images 6",
)
PAGE = "report.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", metavar="RUN", help="a run folder, with recipe.yaml and best/ in it")
    parser.add_argument(
        "--threshold", type=share, help="score above which a box counts (default: the best one on validation)"
    )
    parser.add_argument(
        "--images",
        type=count,
        help="number of worst and of best images to draw (default: evaluation.pictures, at most 6)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe import load_recipe
    from detr_hf.run_folder import RunFolder

    folder = Path(arguments.folder)
    run = RunFolder.open(folder)
    if not run.best.is_dir():
        raise UserError(f"{folder}: has no best/ yet; the first evaluation of a run writes it.")
    recipe = load_recipe(run.recipe_file)
    from detr_hf.demo.resolve import with_data
    from detr_hf.training.report_run import print_reasons, report_again

    with _main_process_first():
        recipe, data = with_data(recipe, folder)
    page = report_again(folder, recipe, data, arguments.threshold, arguments.images)
    if not int(os.environ.get("RANK", 0)):
        print(f"report: {page}")
        print_reasons(folder)


def _main_process_first() -> AbstractContextManager[Any]:
    """On several processes the main one builds the data, and the others find it built."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return nullcontext()
    from detr_hf.training.distributed import main_process_first

    return main_process_first()
