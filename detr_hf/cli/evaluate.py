"""`detr-hf evaluate`: the numbers of a model."""

from __future__ import annotations

import argparse

HELP = "Score a model on the validation split of a recipe, a run or a data set, or on another split."
PLACE = 4
EXAMPLES = (
    "detr-hf evaluate runs/my_photos/panoptic",
    "detr-hf evaluate recipes/detection.yaml --model runs/my_photos/detection/last --out runs/last-epoch",
)
PAGE = "training.md#evaluate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "source",
        help="a run folder, a checkpoint in one, a recipe (its output_dir/best is scored), or with --model a "
        "data set",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    parser.add_argument("--model", help="another model to score: a folder or a Hub id")
    parser.add_argument(
        "--split",
        help="split of the data, such as test (default: validation, or what training would hold out)",
    )
    parser.add_argument(
        "--out",
        help="folder for evaluation.json and evaluation.md (default: the run folder; for another split "
        "evaluate-SPLIT in it)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.scoring import score, scoring_of

    scoring = scoring_of(
        arguments.source, arguments.overrides, arguments.model, arguments.split, arguments.out
    )
    from accelerate import PartialState

    from detr_hf.demo.resolve import as_written, model_path
    from detr_hf.metrics.tables import results_tables

    tables, page = results_tables(score(scoring)), scoring.out / "evaluation.md"
    PartialState().print(f"\n{as_written(model_path(scoring.model))}\n\n{tables}\n\ntables, by class: {page}")
