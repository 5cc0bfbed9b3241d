"""Sampling, grouping, skipping and logging in whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from detr_hf.recipe import Split
from detr_hf.training.loop import train
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, lines_of, save_detector, weights

AIDS = [
    *("data.batching=aspect", "data.repeat_threshold=0.9", "data.on_bad_sample=skip"),
    *("loss.balanced=true", "optim.ema.warmup_steps=3", "log_every=1"),
]


def with_a_broken_picture(folder: Path) -> Split:
    """Pictures of two shapes; of the third half of the file is missing."""
    split = write_coco_detection(folder / "data", count=8)
    path = Path(split.images) / "002.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    return split


def test_a_run_with_all_aids_tells_what_it_skipped_and_what_every_step_cost(tmp_path: Path) -> None:
    split = with_a_broken_picture(tmp_path)
    whole = write_coco_detection(tmp_path / "whole", count=2)  # nothing is skipped in validation
    changes = [f"data.validation.{key}={getattr(whole, key)}" for key in ("annotations", "images")]
    changes += [*AIDS, "optim.epochs=1"]
    run = assembled(detection_recipe(tmp_path / "run", split, save_detector(tmp_path / "start"), *changes))
    train(run)
    lines = lines_of(tmp_path / "run")
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, run.total_steps + 1))
    measured = {
        "loss",
        "loss_ce",
        "loss_bbox",
        "loss_giou",
        "loss_auxiliary",
        "gradient_norm",
        "lr",
        "data_seconds",
    }
    measured |= {"step_seconds", "images_per_second", "memory_mb"}
    assert all(measured <= line.keys() for line in steps)
    (epoch,) = (line for line in lines if line["kind"] == "train")
    listed = [json.loads(line) for line in (tmp_path / "run" / "bad_samples.jsonl").open()]
    assert listed and len(listed) == epoch["bad_samples"]
    assert all("002.jpg" in fault["fault"] and fault["epoch"] == 0 for fault in listed)
    assert epoch["loss"] == pytest.approx(sum(line["loss"] for line in steps) / len(steps))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_twenty_steps_give_the_same_weights_with_any_number_of_workers(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=8)
    start, found = save_detector(tmp_path / "start"), []
    for workers in (0, 1, 3):
        AcceleratorState._reset_state(reset_partial_state=True)
        changes = [*AIDS, "optim.epochs=20", "optim.max_steps=20", "evaluation.every=20"]
        changes.append(f"data.workers={workers}")
        run = assembled(detection_recipe(tmp_path / f"run{workers}", split, start, *changes))
        before = weights(run)
        train(run)
        assert run.state.step == 20
        found.append(weights(run))
    assert any(not torch.equal(before[name], found[0][name]) for name in before)
    for other in found[1:]:
        for name, value in found[0].items():
            assert torch.equal(other[name], value), name
