"""`detr-hf evaluate`: the numbers of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.run_folder import RunFolder

HELP = "Score a model on a recipe's validation split."
PLACE = 4
EXAMPLES = (
    "detr-hf evaluate runs/panoptic",
    "detr-hf evaluate recipes/detection.yaml --model runs/detection/last --out runs/last-epoch",
)
PAGE = "training.md#evaluate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "source", help="a recipe (its output_dir/best is scored), a run folder or a checkpoint"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    parser.add_argument("--model", help="another model to score: a folder or a Hub id")
    parser.add_argument(
        "--out", help="folder for evaluation.json and evaluation.md (default: the run folder)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe import load_recipe

    path, run_folder, checkpoint = _recipe_and_model(Path(arguments.source))
    recipe = load_recipe(path, arguments.overrides)
    from accelerate import Accelerator
    from transformers.utils.logging import disable_progress_bar

    from detr_hf.data.build import build_bundle
    from detr_hf.demo.resolve import model_path, resolve_demo
    from detr_hf.metrics.tables import results_tables
    from detr_hf.training.finish import evaluate_model

    disable_progress_bar()
    run_folder = run_folder or Path(recipe.output_dir)
    model = model_path(arguments.model) if arguments.model else str(checkpoint or run_folder / "best")
    out = Path(arguments.out) if arguments.out else run_folder
    accelerator = Accelerator()  # before any other state: it alone sees ACCELERATE_USE_CPU
    with accelerator.main_process_first():
        recipe = resolve_demo(recipe)
        data = build_bundle(recipe.data, out)
    results = evaluate_model(recipe, data, model, out)
    accelerator.print(f"\n{model}\n\n{results_tables(results)}\n\ntables, by class: {out / 'evaluation.md'}")


def _recipe_and_model(source: Path) -> tuple[Path, Path | None, Path | None]:
    """Recipe, run folder and model: of a recipe file, of a run folder, or of a checkpoint in a run folder."""
    if source.is_file():
        return source, None, None
    if found := RunFolder.of_model(source):
        run, model = found
        return run.recipe_file, run.path, model
    raise UserError(
        f"{source}: give a recipe, a run folder (with recipe.yaml in it) or a checkpoint in a run folder."
    )
