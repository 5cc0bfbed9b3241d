"""`detr-hf evaluate`: the numbers of a model."""

from __future__ import annotations

import argparse

HELP = "Score a model on the validation split of a recipe, a run or a data set, or on another split."
PLACE = 4
EXAMPLES = (
    "detr-hf evaluate runs/panoptic",
    "detr-hf evaluate recipes/detection.yaml --model runs/detection/last --out runs/last-epoch",
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
        "--split", help="of the data, such as test (default: validation, or what a training would hold out)"
    )
    parser.add_argument(
        "--out",
        help="folder for evaluation.json and evaluation.md (default: the run folder; of another split "
        "evaluate-SPLIT in it)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.scoring import scoring_of

    scoring = scoring_of(
        arguments.source, arguments.overrides, arguments.model, arguments.split, arguments.out
    )
    from accelerate import Accelerator
    from transformers.utils.logging import disable_progress_bar

    from detr_hf.data.build import build_bundle
    from detr_hf.demo.resolve import model_path, resolve_demo
    from detr_hf.metrics.tables import results_tables
    from detr_hf.training.finish import evaluate_model

    disable_progress_bar()
    model, out = model_path(scoring.model), scoring.out
    accelerator = Accelerator()  # before any other state: it alone sees ACCELERATE_USE_CPU
    with accelerator.main_process_first():
        recipe = resolve_demo(scoring.recipe)
        data = build_bundle(recipe.data, out)
    results = evaluate_model(recipe, data, model, out, scoring.of_the_run)
    accelerator.print(f"\n{model}\n\n{results_tables(results)}\n\ntables, by class: {out / 'evaluation.md'}")
