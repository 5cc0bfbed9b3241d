"""`detr-hf train`: one run from its recipe, or a recorded one again."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf.errors import UserError

if TYPE_CHECKING:
    from detr_hf.recipe import Recipe

HELP = "Train from a recipe or on a data set; for several GPUs: `accelerate launch -m detr_hf.train`."
PLACE = 3
EXAMPLES = (
    "detr-hf train data/my_photos",
    "detr-hf train recipe.yaml optim.epochs=50",
)
PAGE = "training.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "recipe",
        nargs="?",
        help="a recipe or its name, a data set (stage 2 follows if it has masks), or a run to resume",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example optim.lr=5e-5")
    parser.add_argument(
        "--replay", metavar="RUN", help="repeat a run into RUN-replay or output_dir=... and compare"
    )
    parser.add_argument(
        "--find-batch-size",
        action="store_true",
        help="first find the largest optim.micro_batch_size that fits into the memory, and use it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.advice.stages import in_turn, recipes_of
    from detr_hf.train import run as run_recipe

    if arguments.replay is None:
        if arguments.recipe is None:
            raise UserError("give a data set or a recipe, or --replay with the folder of a run.")
        recipes = recipes_of(arguments.recipe, arguments.overrides)
        in_turn(run_recipe, map(_with_found_batch_size, recipes) if arguments.find_batch_size else recipes)
        return
    if arguments.find_batch_size:
        raise UserError("--replay repeats a run as it was; leave --find-batch-size out.")
    _replay(run_recipe, Path(arguments.replay), [*filter(None, [arguments.recipe]), *arguments.overrides])


def _with_found_batch_size(recipe: Recipe) -> Recipe:
    from detr_hf.demo.resolve import resolve_demo
    from detr_hf.training.find_batch_size import with_found_batch_size

    found = with_found_batch_size(recipe, resolve_demo(recipe))
    print(
        f"optim.micro_batch_size: {found.optim.micro_batch_size} of {found.optim.batch_size} fit", flush=True
    )
    return found


def _replay(run: Callable[[Recipe], Any], folder: Path, overrides: list[str]) -> None:
    from detr_hf.recipe.replay import compare_replay, replay_recipe
    from detr_hf.run_folder import RunFolder

    recipe = replay_recipe(folder, overrides)
    run(recipe)
    from accelerate import PartialState

    PartialState().print(compare_replay(RunFolder(folder), RunFolder(Path(recipe.output_dir))))
