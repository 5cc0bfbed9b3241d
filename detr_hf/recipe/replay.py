"""Repeating a run: the recipe that its folder recorded, into a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.files import MANIFEST_FILE
from detr_hf.recipe.load import load_recipe
from detr_hf.recipe.overrides import with_full_keys
from detr_hf.recipe.schema import Recipe
from detr_hf.run_folder import RECIPE_FILE, RunFolder

NOT_COMPARED = ("command", "libraries")  # libraries are compared one by one
NOT_PUSHED = ("push_to_hub=null", "hub=null")  # a run again, or of a study, is not what somebody publishes


def replay_recipe(run: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a run, with ``output_dir`` beside it under the name ``RUN-replay`` unless one is given.

    Raises:
        UserError: the folder is no run, or the new one holds a run already and was not asked for by name.
    """
    record = run / RECIPE_FILE
    if not record.is_file():
        raise UserError(f"--replay: {run} is no folder of a run; it has no {RECIPE_FILE}.")
    overrides = [*NOT_PUSHED, *with_full_keys(overrides)]
    if any(override.startswith("output_dir=") for override in overrides):
        recipe = load_recipe(record, overrides)
        if Path(recipe.output_dir).resolve() == run.resolve():
            raise UserError(f"output_dir: {run} is the run that is to be repeated; give another folder.")
        return recipe
    target = run.resolve().with_name(f"{run.resolve().name}-replay")
    if (target / RECIPE_FILE).is_file():
        raise UserError(f"--replay: {target} holds a run already; give output_dir=... to choose.")
    return load_recipe(record, [*overrides, f"output_dir={target}"])


def compare_replay(first: RunFolder, second: RunFolder) -> str:
    """Whether both runs ended with the very same weights, and in what their environments differ.

    Args:
        first: the run.
        second: its repetition, finished.
    """
    hashes = [run.hash_of_last() for run in (first, second)]
    verdict = "the same bytes" if hashes[0] == hashes[1] else "NOT the same bytes"
    if hashes[0] is None:
        verdict = f"not compared, {first.last} has no {MANIFEST_FILE}"
    environments = first.environment(), second.environment()
    then, now = ({**facts, **facts.get("libraries", {})} for facts in environments)
    differing = [
        f"  differs: {name}: {then.get(name)} then, {value} now"
        for name, value in now.items()
        if name not in NOT_COMPARED and then.get(name) != value
    ]
    return "\n".join([f"weights of {first.last} and {second.last}: {verdict}", *differing])
