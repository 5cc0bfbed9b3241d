"""Whole runs in seconds: tiny checkpoints on disk, recipes around them, and the parts of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import DetrImageProcessor

from detr_hf.data.build import build_bundle
from detr_hf.labels import LabelMap
from detr_hf.recipe import Recipe, Split, recipe_from_text
from detr_hf.training import engine, loop
from detr_hf.training.build import build_accelerator, build_run, build_task
from detr_hf.training.checkpoint import save_training
from detr_hf.training.loop import train
from detr_hf.training.state import Run
from tests.factories import STUFF, THINGS
from tests.tiny_models import tiny_detector, tiny_segmenter

THING_LABELS = LabelMap.from_names(THINGS)
ALL_LABELS = LabelMap.from_names(THINGS, stuff=STUFF)
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


class Killed(BaseException):
    """Ends a run as a kill would: nothing catches it."""


def save_detector(folder: Path, labels: LabelMap = THING_LABELS, **settings: Any) -> Path:
    """A tiny detector as a run would leave it; ``settings`` go to its config."""
    return _save(tiny_detector(labels=labels, **settings), labels, folder)


def save_segmenter(folder: Path, labels: LabelMap = ALL_LABELS, **settings: Any) -> Path:
    """A tiny segmenter as a run would leave it."""
    return _save(tiny_segmenter(labels=labels, **settings), labels, folder)


def _save(model: nn.Module, labels: LabelMap, folder: Path) -> Path:
    model.save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)
    labels.save(folder)
    return folder


def detection_recipe(output: Path, split: Split, pretrained: Path, *overrides: str) -> Recipe:
    """Stage 1 on ``split``, which is validation as well: 2 epochs in batches of 4."""
    return _recipe("detection", output, split, {"pretrained": str(pretrained)}, overrides)


def panoptic_recipe(
    output: Path, split: Split, detector: Path, mask_head: Path | str, *overrides: str
) -> Recipe:
    """Stage 2 on ``split``, which is validation as well: 2 epochs in batches of 4."""
    model = {"detector": str(detector), "mask_head": str(mask_head)}
    return _recipe("panoptic", output, split, model, overrides)


def _recipe(
    task: str, output: Path, split: Split, model: dict[str, str], overrides: tuple[str, ...]
) -> Recipe:
    files = {key: value for key, value in asdict(split).items() if value is not None}
    resize = {"name": "ShortEdgeResize", "short_edges": [64], "max_long_edge": 128}
    values = {
        "task": task,
        "output_dir": str(output),
        "data": {"train": files, "validation": files, "workers": 0},
        "transforms": {"train": [{"name": "HorizontalFlip", "p": 0.5}, resize], "validation": [resize]},
        "model": model,
        "optim": {"epochs": 2, "batch_size": 4, "micro_batch_size": 2, "lr": 1e-3},
        "evaluation": {"pictures": 1},
    }
    return recipe_from_text(json.dumps(values), overrides)


def assembled(recipe: Recipe) -> Run:
    """The run of a recipe, ready for its next step."""
    accelerator = build_accelerator(recipe)
    data = build_bundle(recipe.data, recipe.output_dir)
    task, _ = build_task(recipe, data)
    return build_run(recipe, accelerator, data, task)


def weights(run: Run) -> dict[str, torch.Tensor]:
    """A copy of all weights of a run's model."""
    return {name: value.clone() for name, value in run.task.model.state_dict().items()}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """What ``metrics.jsonl`` of a run holds."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def killed_after_checkpoints(recipe: Recipe, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a recipe until it has written ``last/`` so many times."""
    written = []

    def save_and_count(run: Run) -> None:
        save_training(run)
        written.append(1)
        if len(written) == count:
            raise Killed

    with monkeypatch.context() as patch:
        for module in (engine, loop):
            patch.setattr(module, "save_training", save_and_count)
        with pytest.raises(Killed):
            train(assembled(recipe))
    AcceleratorState._reset_state(reset_partial_state=True)
