"""Patience: counted in evaluations, kept over a resume, and the run ends with what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detr_hf.recipe import EarlyStopping, Recipe
from detr_hf.training import loop
from detr_hf.training.early_stopping import Patience
from detr_hf.training.loop import train
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, lines_of, save_detector


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    split = write_coco_detection(folder / "data", count=4, sizes_hw=[(96, 128)])
    return detection_recipe(folder / "run", split, save_detector(folder / "start"), *overrides)


def scores(*values: float) -> list[dict[str, Any]]:
    return [{"detection": {"AP": value, "AP50": 1 - value, "AR": 0.5}} for value in values]


def patience_of(folder: Path, *overrides: str) -> Patience:
    return Patience(recipe_of(folder, "optim.epochs=9", *overrides))


def test_it_ends_after_so_many_evaluations_without_a_better_one(tmp_path: Path) -> None:
    patience = patience_of(tmp_path, "early_stopping.patience=2")
    seen = []
    for results in scores(0.1, 0.3, 0.3, 0.31, 0.2, 0.31):
        patience.look_at(results)
        seen.append((patience.waited, patience.is_over))
    assert seen == [(0, False), (0, False), (1, False), (0, False), (1, False), (2, True)]
    assert str(patience) == "AP has not risen above 0.310 for 2 evaluations"


def test_metric_and_least_gain_are_those_of_the_recipe(tmp_path: Path) -> None:
    other = ["early_stopping.patience=1", "early_stopping.metric=AP50", "early_stopping.min_delta=0.1"]
    patience = patience_of(tmp_path, *other)
    for results, over in zip(scores(0.9, 0.7, 0.65), (False, False, True), strict=True):
        patience.look_at(results)
        assert patience.is_over == over
    assert patience.best == pytest.approx(0.3)


def test_what_it_keeps_follows_it_and_can_be_loaded(tmp_path: Path) -> None:
    patience, other = (patience_of(tmp_path / name, "early_stopping.patience=3") for name in "ab")
    kept = patience.tensors()
    for results in scores(0.2, 0.1):
        patience.look_at(results)
    other.load(kept)
    assert (other.best, other.waited) == (0.2, 1)


def test_without_the_setting_it_never_ends(tmp_path: Path) -> None:
    patience = patience_of(tmp_path)
    for results in scores(0.5, *[0.1] * 20):
        patience.look_at(results)
    assert not patience.is_over and patience.tensors() == {}


def test_a_run_ends_early_and_stays_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter(scores(0.4, 0.3, 0.2, 0.1, 0.0))
    monkeypatch.setattr(loop, "evaluate", lambda *arguments: next(results))
    recipe = recipe_of(tmp_path, "early_stopping.patience=1", "optim.epochs=5")
    run = assembled(recipe)
    train(run)
    assert run.progress.step == 2 and run.progress.best_step == 1
    again = assembled(recipe)
    train(again)
    assert again.progress.step == 2 and again.patience.is_over
    assert isinstance(recipe.early_stopping, EarlyStopping)
    assert [line["kind"] for line in lines_of(tmp_path / "run")] == ["train", "validation"] * 2
