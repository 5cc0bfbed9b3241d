"""`key=value` behind a recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from detr_hf.recipe import (
    DetectionRecipe,
    recipe_from_text,
)
from tests.recipe.texts import DETECTION, PANOPTIC, faults_of, replace


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["optim.lr=1e-5"], "optim.lr", 1e-5),
        (["optim.lr=1e-5", "optim.lr=2e-5"], "optim.lr", 2e-5),
        (["optim.schedule={name: cosine}"], "optim.schedule.name", "cosine"),
        (["evaluation.pictures=0"], "evaluation.pictures", 0),
        (["data.train.images=other folder"], "data.train.images", "other folder"),
        (["data.train=null", "data.demo.train=7"], "data.demo.train", 7),
        (["optim.batch_size=2"], "optim.batch_size", 2),  # below the micro-batch: one pass a step
        (["trackers=[tensorboard]"], "trackers", ["tensorboard"]),
        (["transforms.train.0.p=0"], "transforms.train.0.p", 0),
        (
            ["transforms.train.1.transforms.0.short_edges=[64]"],
            "transforms.train.1.transforms.0.short_edges",
            [64],
        ),
        (
            ["transforms.validation.0={name: A, border: null}"],
            "transforms.validation.0",
            {"name": "A", "border": None},
        ),
        (["transforms.validation.0.note=null"], "transforms.validation.0.note", None),
        (["resume=runs/a=b"], "resume", "runs/a=b"),
    ],
)
def test_an_override_is_applied(overrides: list[str], path: str, value: Any) -> None:
    found: Any = dataclasses.asdict(recipe_from_text(DETECTION, overrides))
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert found == value


def test_null_takes_a_setting_back_to_its_default() -> None:
    text = replace(DETECTION, "optim", "{epochs: 3, lr: 5e-4, schedule: {name: step, drop_at: 0.5}}")
    recipe = recipe_from_text(
        text, ["optim.schedule.name=cosine", "optim.schedule.drop_at=null", "optim.lr=null"]
    )
    assert recipe.optim.lr is None and recipe.optim.schedule.name == "cosine"
    assert faults_of(text, "optim.epochs=null") == ["optim.epochs: missing; give it a value"]


def test_an_override_can_change_the_task() -> None:
    text = PANOPTIC.replace("model: {detector: runs/detection/best}\n", "")
    assert isinstance(recipe_from_text(text, ["task=detection"]), DetectionRecipe)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lrr=1", "optim.lrr: unknown key; did you mean `lr`?"),
        ("optm.lr=1", "optm: unknown key; did you mean `optim`?"),
        ("optim.lr", "`optim.lr` is no override"),
        ("optim..lr=3", "`optim..lr=3` is no override"),
        ("=3", "`=3` is no override"),
        ("optim.lr=", "optim.lr: the override has no value"),
        ("optim.lr=abc", "optim.lr: expected a number, got 'abc'"),
        ("optim.epochs.x=3", "optim.epochs.x: `epochs` is 3, a single value without parts"),
        ("optim.schedule={name: step, name: cosine}", "optim.schedule.name: given twice"),
        ("optim.lr=[1", "override `optim.lr`: not valid YAML"),
        (
            "transforms.train.9.p=0",
            "transforms.train.9.p: `train` holds 2 entries, counted from 0; there is no number 9",
        ),
        ("transforms.train.-1.p=0", "transforms.train.-1.p: `train` holds 2 entries; give the number"),
        (
            "transforms.train.OneOf.p=0",
            "transforms.train.OneOf.p: `train` holds 2 entries; give the number of one",
        ),
        ("transforms.train.0.p.x.y=0", "transforms.train.0.p.x.y: `p` is 0.5, a single value"),
    ],
)
def test_a_bad_override_is_refused(override: str, expected: str) -> None:
    faults = faults_of(DETECTION, override)
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)
