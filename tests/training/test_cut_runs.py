"""Runs that were cut off, or whose newest states are damaged, end with the weights of one that was not."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from detr_hf.errors import UserError
from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe import Recipe
from detr_hf.training import checkpoint
from detr_hf.training.checkpoint import find_checkpoint
from detr_hf.training.loop import train
from detr_hf.training.state import Run
from tests.tiny_runs import (
    assembled,
    killed_after_checkpoints,
    lines_of,
)
from tests.training.checkpoint_runs import flip_a_byte, recipe_of, write_home

MEASURED = ("images_per_second", "data_seconds", "step_seconds", "memory_mb")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def whole_of(home: Path) -> Callable[[str], Run]:
    """The run of a stage that was not cut off; each is trained once."""

    @cache
    def whole(stage: str) -> Run:
        run = assembled(recipe_of(stage, home, home / "whole" / stage))
        train(run)
        AcceleratorState._reset_state(reset_partial_state=True)
        return run

    return whole


BY_REQUEST = [pytest.param(stage, marks=pytest.mark.slow) for stage in ("conditional_detr", "dab_detr")]


@pytest.mark.parametrize(
    "stage", ["detection", "panoptic", "groups", "deformable_detr_two_stage", *BY_REQUEST]
)
def test_a_run_cut_off_ends_with_the_very_weights_of_one_that_was_not(
    stage: str,
    home: Path,
    whole_of: Callable[[str], Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = whole_of(stage)
    recipe = recipe_of(stage, home, tmp_path / "cut")
    killed_after_checkpoints(recipe, 1, monkeypatch)
    resumed = assembled(recipe)
    assert resumed.state.step == 2
    train(resumed)
    for name, value in whole.task.state_dict().items():
        assert torch.equal(value, resumed.task.state_dict()[name]), name
    assert load_finished(str(resumed.folder / "last")), "stock reads it, and finds nothing too many"
    timeless = [
        [{key: value for key, value in line.items() if key not in MEASURED} for line in lines_of(folder)]
        for folder in (whole.folder, resumed.folder)
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 4  # train and validation of two epochs


# ---- older states, and what a damaged `last/` falls back on


def four_steps(home: Path, folder: Path, *overrides: str) -> Recipe:
    """A state after every step; the older ones stay."""
    changes = ["checkpoint.every_steps=1", "checkpoint.keep=2", "evaluation.every=2", *overrides]
    return recipe_of("detection", home, folder, *changes)


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    train(assembled(four_steps(home, home / "four")))
    return home / "four"


@pytest.fixture
def states(trained: Path, tmp_path: Path) -> Path:
    """A copy of the folder of the finished run."""
    return shutil.copytree(trained, tmp_path / "run")


def test_so_many_older_states_stay(home: Path, trained: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in trained.glob("step-*")) == ["step-000002", "step-000003"]
    assert not (trained / "last.old").exists()
    train(assembled(four_steps(home, tmp_path / "none", "checkpoint.keep=0")))
    assert list((tmp_path / "none").glob("step-*")) == []


def test_a_damaged_last_falls_back_and_ends_with_the_same_weights(
    home: Path, trained: Path, states: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two newest states are damaged, the third takes over; what was damaged is set aside, not built upon."""
    folder = states
    whole = load_file(trained / "last" / "model.safetensors")
    flip_a_byte(folder / "last" / "model.safetensors")
    (folder / "step-000003" / "config.json").unlink()
    again = assembled(four_steps(home, folder))
    told = capsys.readouterr().out
    assert again.state.step == 2
    assert f"{folder / 'last'} is damaged (model.safetensors was altered: its sha256 is another); " in told
    assert "step-000003 is damaged (config.json is missing); resuming from" in told
    assert (folder / "last.damaged").is_dir() and not (folder / "last").exists()
    train(again)
    for name, value in load_file(folder / "last" / "model.safetensors").items():
        assert torch.equal(value, whole[name]), name
    assert find_checkpoint(folder, "auto") == folder / "last"


def test_going_on_from_an_older_state_leaves_the_later_ones_behind(home: Path, states: Path) -> None:
    older = states / "step-000002"
    run = assembled(four_steps(home, states, f"resume={older}", "optim.max_steps=3"))
    assert run.state.step == 2
    train(run)
    kept = sorted(path.name for path in run.folder.iterdir() if path.is_dir())
    assert kept == ["best", "last", "step-000002"]


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_a_run_cut_inside_an_epoch_ends_with_the_same_weights_and_the_same_log(
    stage: str,
    home: Path,
    whole_of: Callable[[str], Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first checkpoint is after step 1 of 2 of the epoch; the log line is the mean of both steps."""
    whole = whole_of(stage)
    recipe = recipe_of(stage, home, tmp_path / "cut", "checkpoint.every_steps=1")
    killed_after_checkpoints(recipe, 1, monkeypatch)
    resumed = assembled(recipe)
    assert resumed.state.step == 1
    train(resumed)
    for name, value in whole.task.model.state_dict().items():
        assert torch.equal(value, resumed.task.model.state_dict()[name]), name
    logged = [
        [(line["step"], line["kind"], line.get("loss"), line.get("gradient_norm")) for line in lines_of(path)]
        for path in (whole.folder, resumed.folder)
    ]
    assert logged[0] == logged[1]


# ---- disks


def test_a_full_disk_names_what_and_where_and_leaves_the_last_good_checkpoint(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = four_steps(home, tmp_path / "run", "optim.max_steps=3")
    run = assembled(recipe)
    real, calls = checkpoint.save_file, []

    def full(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match=r"last could not be written: No space left on device \(\d+ MB"):
            train(run)
    assert not (run.folder / "last.partial").exists(), "room is made again"
    AcceleratorState._reset_state(reset_partial_state=True)
    again = assembled(recipe)
    assert again.state.step == 2
    train(again)
