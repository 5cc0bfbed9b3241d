"""Patience: counted in evaluations, kept over a resume, and the run ends with what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detr_hf.recipe import Recipe
from detr_hf.training import loop
from detr_hf.training.early_stopping import EarlyStopping
from detr_hf.training.engine import EvaluationResult
from detr_hf.training.loop import train
from detr_hf.training.state import TrainState
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, lines_of, save_detector


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    split = write_coco_detection(folder / "data", count=4, sizes_hw=[(96, 128)])
    return detection_recipe(folder / "run", split, save_detector(folder / "start"), *overrides)


def scores(*values: float) -> list[dict[str, Any]]:
    return [{"detection": {"AP": value, "AP50": 1 - value, "AR": 0.5}} for value in values]


def stopping_of(folder: Path, *overrides: str) -> EarlyStopping:
    return EarlyStopping(recipe_of(folder, "optim.epochs=9", *overrides), TrainState())


def test_it_ends_after_so_many_evaluations_without_a_better_one(tmp_path: Path) -> None:
    stopping = stopping_of(tmp_path, "early_stopping.patience=2")
    seen = []
    for results in scores(0.1, 0.3, 0.3, 0.31, 0.2, 0.31):
        stopping.update(results)
        seen.append((stopping.state.stopping_waited, stopping.is_due))
    assert seen == [(0, False), (0, False), (1, False), (0, False), (1, False), (2, True)]
    assert str(stopping) == "AP has not risen above 0.310 for 2 evaluations"


def test_metric_and_least_gain_are_those_of_the_recipe(tmp_path: Path) -> None:
    other = ["early_stopping.patience=1", "early_stopping.metric=AP50", "early_stopping.min_delta=0.1"]
    stopping = stopping_of(tmp_path, *other)
    for results, due in zip(scores(0.9, 0.7, 0.65), (False, False, True), strict=True):
        stopping.update(results)
        assert stopping.is_due == due
    assert stopping.state.stopping_best == pytest.approx(0.3)


def test_without_the_setting_it_never_ends(tmp_path: Path) -> None:
    stopping = stopping_of(tmp_path)
    for results in scores(0.5, *[0.1] * 20):
        stopping.update(results)
    assert not stopping.is_due and stopping.state == TrainState(tracker_id=stopping.state.tracker_id)


def test_a_run_ends_early_and_stays_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter(scores(0.4, 0.3, 0.2, 0.1, 0.0))
    monkeypatch.setattr(loop, "evaluate", lambda *arguments: EvaluationResult(next(results), None))
    recipe = recipe_of(tmp_path, "early_stopping.patience=1", "optim.epochs=5")
    run = assembled(recipe)
    train(run)
    assert run.state.step == 2 and run.state.best_step == 1
    again = assembled(recipe)
    train(again)
    assert again.state.step == 2 and EarlyStopping(recipe, again.state).is_due
    assert [line["kind"] for line in lines_of(tmp_path / "run")] == ["train", "validation"] * 2
