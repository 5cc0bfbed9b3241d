"""Steps that are not finite: left out and counted, and in the end a stop with the batch on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from detr_hf.recipe import Recipe
from detr_hf.training.distributed import any_rank
from detr_hf.training.loop import train
from detr_hf.training.nonfinite import NonFiniteLossError
from detr_hf.training.state import Run
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, lines_of, save_detector, weights


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    split = write_coco_detection(folder / "data", count=8)
    return detection_recipe(folder / "run", split, save_detector(folder / "start"), *overrides)


def poison(run: Run, at_steps: set[int]) -> None:
    """Make the loss NaN, backward included, at some steps counted from 1."""
    real = run.task.forward

    def forward(*arguments: Any, **named: Any) -> dict[str, Tensor]:
        terms = real(*arguments, **named)
        if run.state.step + 1 in at_steps:
            terms = {**terms, "loss": terms["loss"] * float("nan")}
        return terms

    run.ddp_task.forward = forward  # type: ignore[method-assign]


def test_a_skipped_step_changes_nothing_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = assembled(recipe_of(tmp_path, "optim.epochs=1"))
    before = weights(run)
    poison(run, {1, 2})
    train(run)
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())
    assert not run.optimizer.state, "not even the optimizer saw a gradient"
    assert (run.state.step, run.state.skipped) == (2, 2)
    told = capsys.readouterr().out
    assert "step 1: the loss is not finite (terms: loss; image ids: " in told
    assert "skipped, 2 of 3 such steps allowed" in told
    assert lines_of(run.folder)[0]["skipped_steps"] == 2
    state = json.loads((run.folder / "last" / "training_state.json").read_text())
    assert state["state"]["skipped"] == 2, "the count continues after a resume"


def test_the_steps_around_a_skipped_one_are_taken(tmp_path: Path) -> None:
    run = assembled(recipe_of(tmp_path))
    before = weights(run)
    poison(run, {2})
    train(run)
    after = weights(run)
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert {float(state["step"]) for state in run.optimizer.state.values()} == {3.0}


def test_one_too_many_stops_with_the_batch_on_the_disk(tmp_path: Path) -> None:
    run = assembled(recipe_of(tmp_path, "optim.skip_non_finite=1"))
    poison(run, {1, 3})
    with pytest.raises(NonFiniteLossError) as caught:
        train(run)
    folder = run.folder / "non_finite" / "step-000003"
    assert f"and 1 such steps are allowed (optim.skip_non_finite). The batch is in {folder}" in str(
        caught.value
    )
    facts = json.loads((folder / "process0.json").read_text())
    assert facts["step"] == 3 and facts["terms"] == ["loss"] and len(facts["images"]) == 4
    named = str(caught.value).split("image ids: ")[1].split(")")[0]
    assert named == ", ".join(str(image["image_id"]) for image in facts["images"])
    tensors = load_file(folder / "process0.safetensors")
    assert tensors["0.pixel_values"].shape[:2] == (2, 3) and "1.pixel_mask" in tensors
    assert tensors["1.0.boxes_cxcywh_norm"].shape[-1] == 4
    state = json.loads((run.folder / "last" / "training_state.json").read_text())
    assert state["state"]["step"] == 2, "the last good checkpoint stays"


def test_a_dump_that_finds_no_room_does_not_hide_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detr_hf.training import nonfinite

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = assembled(recipe_of(tmp_path, "optim.skip_non_finite=0"))
    poison(run, {1})
    monkeypatch.setattr(nonfinite, "save_file", full)
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is not finite .*No space left"):
        train(run)


def test_a_fault_on_another_process_counts_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator()
    assert any_rank(accelerator, True) and not any_rank(accelerator, False)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 2))
    monkeypatch.setattr(Accelerator, "reduce", lambda _, vote, reduction: vote + 1)
    assert any_rank(accelerator, False)
