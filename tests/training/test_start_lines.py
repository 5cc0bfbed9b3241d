"""What a start says of its device, and of how far the run was before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from detr_hf.recipe import Split
from detr_hf.training.start_lines import device_line, lines_on_resuming, steps_line
from detr_hf.training.state import TrainState
from tests.tiny_runs import detection_recipe


def run_of(folder: Path, done: int, total: int, *changes: str) -> Any:
    """Two steps an epoch; the rate that its log ends with is 0, the present one is 0.001."""
    recipe = detection_recipe(folder, Split(path="photos"), folder, "optim.schedule.name=cosine", *changes)
    state = TrainState(step=done, evaluated_step=done, best_step=done, stopping_best=0.5, stopping_waited=1)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "kind": "train", "lr": {"other": 0.0}}))
    groups = SimpleNamespace(param_groups=[{"name": "other", "lr": 1e-3}])
    sizes = {"steps_per_epoch": 2, "epochs": total // 2, "total_steps": total}
    return SimpleNamespace(recipe=recipe, state=state, folder=folder, optimizer=groups, **sizes)


FINISHED = [
    (8, [], "finished before, at epoch 4 of 4; to train longer: optim.epochs=8"),
    (8, ["optim.epochs=9"], "finished before, at epoch 4 of 4; to train longer: optim.max_steps=16"),
    (6, ["early_stopping={patience: 1}"], "finished before, at epoch 3 of 4 (AP has not risen above 0.500 "),
    (6, [], "note: the learning rate rises again, from 0 to 0.001 (other): optim.schedule is stretched "),
]


@pytest.mark.parametrize(("done", "changes", "told"), FINISHED)
def test_a_run_that_was_finished_says_so(done: int, changes: list[str], told: str, tmp_path: Path) -> None:
    """Guards: a finished run that seems to train again, and rates that rise again without a word."""
    (line,) = lines_on_resuming(run_of(tmp_path, done, 8, "optim.epochs=4", *changes))
    assert line.startswith(told)


def test_a_new_run_says_its_steps_and_no_more(tmp_path: Path) -> None:
    run = run_of(tmp_path, 0, 8)
    assert not list(lines_on_resuming(run))
    assert steps_line(run) == "steps: 8 of 4 images each (4 epochs)"
    assert steps_line(run_of(tmp_path, 6, 8)) == "steps: 8 of 4 images each (4 epochs), 6 done before"


@pytest.mark.parametrize(("gpu", "told"), [(False, "cpu (no GPU found), float32"), (True, "cpu, float32")])
def test_the_device_is_named(gpu: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: hours on the CPU of a machine whose GPU is not found, without a word."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    run = run_of(tmp_path, 0, 8)
    run.accelerator = Accelerator(cpu=True)
    assert device_line(run) == f"device: {told}"
