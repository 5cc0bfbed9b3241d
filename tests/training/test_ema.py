"""Averaged weights: the decay by hand, in place and back, and through a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe import Ema
from detr_hf.training.ema import AveragedWeights, Averaging, decay_at, fitted
from detr_hf.training.loop import train
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, save_detector, weights


def test_the_decay_rises_over_the_warm_up() -> None:
    settings = Averaging(decay=0.9, warmup_steps=10)
    assert decay_at(settings, 10) == pytest.approx(0.9 * (1 - 1 / math.e))
    assert decay_at(settings, 1) < 0.1 < decay_at(settings, 30) < 0.9
    assert decay_at(Averaging(decay=0.9, warmup_steps=0), 1) == 0.9


@pytest.mark.parametrize(
    ("steps", "decay", "warmup"),
    [(100_000, 0.9998, 2000), (50_000, 0.9998, 2000), (600, 1 - 1 / 60, 24), (3, 0, 0.4)],
)
def test_what_a_recipe_leaves_open_fits_the_run(steps: int, decay: float, warmup: float) -> None:
    """A short run is not held back by where it started."""
    found = fitted(Ema(), steps)
    assert found.decay == pytest.approx(decay) and found.warmup_steps == pytest.approx(warmup)
    given = fitted(Ema(decay=0.5, warmup_steps=7), steps)
    assert (given.decay, given.warmup_steps) == (0.5, 7)
    assert fitted(Ema(decay=0.5), steps).warmup_steps == pytest.approx(0.8)


def test_an_average_by_hand() -> None:
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    nn.init.constant_(model.weight, 2.0)
    average = AveragedWeights(model, Averaging(decay=0.75, warmup_steps=0), {})
    nn.init.constant_(model.weight, 4.0)
    average.update(1)  # 0.75 x 2 + 0.25 x 4
    average.update(2)  # 0.75 x 2.5 + 0.25 x 4
    assert average.average["weight"].item() == pytest.approx(2.875)
    assert set(average.average) == {"weight"}, "what is frozen needs no average"
    with average.in_place():
        assert model.weight.item() == pytest.approx(2.875)
    assert model.weight.item() == 4.0


def test_the_own_weights_come_back_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average = AveragedWeights(model, Averaging(decay=0.5, warmup_steps=0), {})
    own = torch.full((2, 2), 7.0)
    model.weight.data.copy_(own)
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert torch.equal(model.weight, own)


def test_best_holds_the_average_last_the_weights_and_a_resume_goes_on(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=4, sizes_hw=[(96, 128)])
    start = save_detector(tmp_path / "start")
    changes = ["optim.ema.decay=0.9", "optim.ema.warmup_steps=0", "evaluation.every=2"]

    def run_of(output: str, *more: str):
        AcceleratorState._reset_state(reset_partial_state=True)
        return assembled(detection_recipe(tmp_path / output, split, start, *changes, *more))

    whole = run_of("whole")
    train(whole)
    saved = {kind: load_finished(str(tmp_path / "whole" / kind)).state_dict() for kind in ("best", "last")}
    average = whole.ema.average
    for name, value in weights(whole).items():
        assert torch.equal(saved["last"][name], value), name
        if f"model.{name}" in average:
            assert torch.equal(saved["best"][name], average[f"model.{name}"]), name
    assert any(not torch.equal(saved["best"][name], saved["last"][name]) for name in saved["last"])

    train(run_of("cut", "optim.max_steps=1", "checkpoint.every_steps=1"))
    resumed = run_of("cut")
    assert resumed.state.step == 1
    train(resumed)
    for name, value in average.items():
        assert torch.equal(resumed.ema.average[name], value), name
