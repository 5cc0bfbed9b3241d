"""K runs of one recipe, each without a part of the training images, which it then judges as a stranger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from detr_hf.ablation.run import Runner, refuse_other_runs
from detr_hf.ablation.study import PlannedRun
from detr_hf.errors import StoppedEarly, UserError, quantity
from detr_hf.recipe import load_recipe
from detr_hf.recipe.replay import NOT_PUSHED
from detr_hf.run_folder import RunFolder


def plan_folds(recipe_file: Path, out: Path, folds: int) -> list[PlannedRun]:
    """The runs that leave out one of ``folds`` parts each, in ``out/fold-K/TASK``; nothing is trained.

    A segmenter learns on a detector. Where that is a run's, it is trained again for each fold: it has seen
    the images that its segmenter is to judge.

    Raises:
        UserError: the recipe cannot be divided, such as one that streams its images.
    """
    runs: list[PlannedRun] = []
    for held_out in range(folds):
        folder, name = out / f"fold-{held_out}", f"fold-{held_out}"
        own = _overrides(held_out, folds)
        recipe = load_recipe(recipe_file, own)
        before = None
        if recipe.task == "panoptic" and (found := RunFolder.of_model(Path(recipe.model.detector))):
            first = load_recipe(found[0].recipe_file, [*own, _into(folder / "detection")])
            before = PlannedRun(name, first.seed, first)
            runs.append(before)
            own.append(f"model.detector={json.dumps(str(before.folder / 'best'))}")
        recipe = load_recipe(recipe_file, [*own, _into(folder / recipe.task)])
        runs.append(PlannedRun(name, recipe.seed, recipe, after=before))
    return runs


def _overrides(held_out: int, folds: int) -> list[str]:
    fold = f"data.fold={{held_out: {held_out}, of: {folds}}}"
    unused = [f"data.{key}=null" for key in ("validation", "validation_fraction", "overfit")]
    return [fold, *unused, "resume=auto", "evaluation.pictures=0", *NOT_PUSHED]


def _into(folder: Path) -> str:
    return f"output_dir={json.dumps(str(folder))}"


def train_folds(runs: Sequence[PlannedRun], gpus: Sequence[str] = ()) -> None:
    """Train what is not finished, a process a run; the same call goes on where it was stopped.

    Raises:
        UserError: a folder holds a run of another recipe, or a run failed.
        StoppedEarly: a signal ended it; the runs under way have saved.
    """
    refuse_other_runs(runs, "this review", "--out")
    runner = Runner(runs, gpus, lambda: None)
    logs = runs[0].folder.parent.with_name("fold-*") / "*" / "run.log"
    print(
        f"{quantity(len(runs), 'run')}, {len(runner.results)} of them finished; their output: {logs}",
        flush=True,
    )
    runner.run_all()
    if failed := [run for run in runs if runner.results[run.name] == "failed"]:
        raise UserError(f"{quantity(len(failed), 'run')} failed; {failed[0].folder / 'run.log'} says why.")
    if any(result == "stopped" for result in runner.results.values()):
        raise StoppedEarly


def finished_folders(runs: Sequence[PlannedRun]) -> list[Path]:
    """Of the runs whose predictions count: with two stages, of the second."""
    earlier = {run.after.name for run in runs if run.after is not None}
    return [run.folder for run in runs if run.name not in earlier]
