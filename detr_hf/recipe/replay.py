"""Repeating a run: the recipe that its folder recorded, into a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.recipe.load import load_recipe
from detr_hf.recipe.schema import Recipe

RECORD_FILE = "recipe.yaml"
NOT_PUSHED = ("push_to_hub=null", "hub=null")  # a repeated run leaves what the first one published alone


def replay_recipe(run: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a run, with ``output_dir`` beside it under the name ``RUN-replay`` unless one is given.

    Raises:
        UserError: the folder is no run, or the new one holds a run already and was not asked for by name.
    """
    record = run / RECORD_FILE
    if not record.is_file():
        raise UserError(f"--replay: {run} is no folder of a run; it has no {RECORD_FILE}.")
    overrides = [*NOT_PUSHED, *overrides]
    if any(override.startswith("output_dir=") for override in overrides):
        recipe = load_recipe(record, overrides)
        if Path(recipe.output_dir).resolve() == run.resolve():
            raise UserError(f"output_dir: {run} is the run that is to be repeated; give another folder.")
        return recipe
    target = run.resolve().with_name(f"{run.resolve().name}-replay")
    if (target / RECORD_FILE).is_file():
        raise UserError(f"--replay: {target} holds a run already; give output_dir=... to choose.")
    return load_recipe(record, [*overrides, f"output_dir={target}"])
