"""Whole runs of both stages on a device: they learn, resume exactly, repeat bit for bit, and spare memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import DetrForObjectDetection, DetrForSegmentation

from detr_hf.modeling.compute import compile_layers
from detr_hf.recipe import Recipe, Split
from detr_hf.training import build
from detr_hf.training.loop import train
from tests.factories import write_coco_panoptic
from tests.gpu.precisions import FP16, skip_unless_usable
from tests.tiny_models import gradients
from tests.tiny_runs import (
    NO_DROPOUT,
    assembled,
    detection_recipe,
    lines_of,
    panoptic_recipe,
    save_segmenter,
    weights,
)

STAGES = {"detection": DetrForObjectDetection, "panoptic": DetrForSegmentation}
STEPS = 4
CLOSE = 1e-4
ALIKE = ("optim.schedule.name=constant", f"optim.max_steps={STEPS}", "evaluation.every=99")
"""A rate that does not follow from the length of the run: a shorter one is the beginning of a longer one."""


@dataclass(frozen=True)
class Home:
    """Data and starting weights, shared by the tests of this file."""

    split: Split
    folder: Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("home")
    save_segmenter(folder / "start", **NO_DROPOUT)
    save_segmenter(folder / "with dropout")
    return Home(write_coco_panoptic(folder / "data", count=8), folder)


def recipe_of(home: Home, stage: str, folder: Path, *changes: str, start: str = "start") -> Recipe:
    """A run in batches of four pictures, from a model without dropout unless another one is named."""
    weights_of, changes = home.folder / start, (*ALIKE, *changes)
    if stage == "detection":
        return detection_recipe(folder, home.split, weights_of, *changes)
    return panoptic_recipe(folder, home.split, weights_of, weights_of, *changes)


def trained(recipe: Recipe) -> dict[str, Tensor]:
    """Weights after a run, on the CPU; the process forgets the run."""
    run = assembled(recipe)
    assert run.accelerator.device.type == next(run.task.parameters()).device.type
    train(run)
    AcceleratorState._reset_state(reset_partial_state=True)
    return {name: value.cpu() for name, value in weights(run).items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", ["no", "bf16", FP16])
def test_a_run_learns_and_goes_on_exactly(
    stage: str, precision: str, device: str, home: Home, tmp_path: Path
) -> None:
    """Also in half precision, whose loss scale is part of a checkpoint."""
    skip_unless_usable(precision, device)
    change = f"mixed_precision={precision}"

    def recipe(name: str, *more: str) -> Recipe:
        return recipe_of(home, stage, tmp_path / name, change, *more, start="with dropout")

    whole = trained(recipe("whole"))
    half = trained(recipe("parts", f"optim.max_steps={STEPS // 2}"))
    assert any(not torch.equal(whole[name], half[name]) for name in whole), (
        "the second half learned something"
    )
    assert_equal(trained(recipe("parts")), whole)
    lines = lines_of(tmp_path / "whole")
    epochs = [line for line in lines if line["kind"] == "train"]
    assert epochs and all(0 < line["loss"] < 1e3 for line in epochs)
    assert [line["kind"] for line in lines].count("validation") == 1
    best = STAGES[stage].from_pretrained(tmp_path / "whole" / "best")
    assert {value.dtype for value in best.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }


def step(recipe: Recipe) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Loss terms and gradients of a run's first micro-batch, on the CPU."""
    run = assembled(recipe)
    batch = next(iter(run.train_loader)).to(run.accelerator.device)
    run.task.train()
    terms = run.task(batch.pixel_values, batch.pixel_mask, batch.targets, run.task.normalizers(batch.targets))
    terms["loss"].backward()
    AcceleratorState._reset_state(reset_partial_state=True)
    return (
        {name: term.detach().cpu() for name, term in terms.items()},
        {name: slope.cpu() for name, slope in gradients(run.task).items()},
    )


@pytest.mark.parametrize("stage", STAGES)
def test_losses_and_gradients_are_those_of_the_cpu(
    stage: str, device: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, slopes = step(recipe_of(home, stage, tmp_path / device))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    expected, expected_slopes = step(recipe_of(home, stage, tmp_path / "on the CPU"))
    assert losses.keys() == expected.keys() and slopes.keys() == expected_slopes.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=CLOSE), name
    difference = torch.cat([(slopes[name] - value).flatten() for name, value in expected_slopes.items()])
    size = torch.cat([value.flatten() for value in expected_slopes.values()]).norm()
    assert size > 0 and difference.norm() / size < CLOSE


@pytest.mark.parametrize("stage", STAGES)
def test_two_runs_are_equal_bit_for_bit(stage: str, device: str, home: Home, tmp_path: Path) -> None:
    runs = [recipe_of(home, stage, tmp_path / name, start="with dropout") for name in ("one", "two")]
    assert_equal(*map(trained, runs))


@pytest.mark.parametrize("stage", STAGES)
def test_activations_computed_again_give_the_same_weights(
    stage: str, device: str, home: Home, tmp_path: Path
) -> None:
    changes = [] if stage == "detection" else ["model.freeze_detector=false"]
    plain = trained(recipe_of(home, stage, tmp_path / "plain", *changes))
    again = trained(
        recipe_of(home, stage, tmp_path / "again", *changes, "compute.gradient_checkpointing=true")
    )
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_compiled_layers_give_the_same_weights(
    stage: str, device: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cpu":  # inductor takes minutes there
        monkeypatch.setattr(build, "compile_layers", partial(compile_layers, backend="aot_eager"))
    plain = trained(recipe_of(home, stage, tmp_path / "plain", "optim.max_steps=1"))
    compiled = trained(
        recipe_of(home, stage, tmp_path / "compiled", "optim.max_steps=1", "compute.compile=true")
    )
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-2, atol=3e-3, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_tf32_changes_little(device: str, home: Home, tmp_path: Path) -> None:
    for name in ("exact", "tf32"):
        trained(recipe_of(home, "detection", tmp_path / name, f"compute.tf32={str(name == 'tf32').lower()}"))
    exact, tf32 = (
        next(line["loss"] for line in lines_of(tmp_path / name) if line["kind"] == "train")
        for name in ("exact", "tf32")
    )
    assert tf32 == pytest.approx(exact, rel=0.02)
