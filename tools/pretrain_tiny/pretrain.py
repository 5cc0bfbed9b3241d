"""The tiny checkpoint's pretraining: three runs of the package's own engine, each from the one before.

A different synthetic world from the one the demo fine-tunes on (streets instead of construction yards; other
thing classes, stuff with the names COCO-panoptic gives it), so that the demo's start is a pretrained model in
earnest. Three phases: dense warm-up of backbone and encoder, the detector, the mask head on the frozen
detector. The shipped checkpoint came of an earlier form of this script with a loop of its own; its log lies
beside it, and docs/demo.md says which runs it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle
from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.worlds import categories_of
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.registry import detector_of
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.pretrained import load_finished
from detr_hf.modeling.task import Task
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training.build import build_accelerator, build_run, build_task
from detr_hf.training.folder import locked, save_record
from detr_hf.training.loop import train
from tools.pretrain_tiny.architecture import tiny_config
from tools.pretrain_tiny.street import STREET
from tools.pretrain_tiny.task import AidedDetection

PHASES = ("warm-up", "detector", "masks")
VIEW_HW = (192, 256)  # the demo's size; multiples of 16, the backbone's stride, both ways
NO_OBJECT = 0.4  # DETR's 0.1 is for 100 queries; with 25, objects would be found twice


@dataclass(frozen=True)
class Plan:
    """Lengths and rates of the three phases."""

    scenes: int = 6000
    held_out: int = 200
    steps: tuple[int, int, int] = (1200, 6500, 800)
    batch_size: int = 16
    groups: int = 2
    lr: float = 4e-4
    seed: int = 0


def pretrain(plan: Plan, out: Path, data: Path, start: Path | None = None) -> Path:
    """Run the three phases, each in a folder of ``out``; ``data`` gets the scenes.

    The same call resumes where one that was stopped has saved last. A phase of no steps is left out.

    Args:
        start: continues from the weights of an earlier pretraining instead of random ones.

    Returns:
        The folder of the checkpoint.
    """
    labels = LabelMap.from_coco(categories_of(STREET))
    ensure_dataset(data, {"train": plan.scenes, "validation": plan.held_out}, plan.seed, world=STREET)
    first = start or _random_start(out / "start", labels, plan.seed)
    latest = first
    for phase, steps in zip(PHASES, plan.steps, strict=True):
        if steps > 0:
            recipe = recipe_of(plan, phase, steps, out / phase, data, latest, first)
            learn(recipe, lambda given, data, phase=phase: task_of(plan, phase, given, data))  # type: ignore[misc]
            latest = out / phase / "best"  # scored once, in the end: its last weights
    return latest


def _random_start(folder: Path, labels: LabelMap, seed: int) -> Path:
    """A model as ``from_pretrained`` reads it, with random weights; the same for the same seed."""
    if not (folder / "label_map.json").is_file():
        torch.manual_seed(seed)
        DetrForSegmentation(tiny_config(labels)).save_pretrained(folder)
        DetrImageProcessor().save_pretrained(folder)
        labels.save(folder)
    return folder


def recipe_of(plan: Plan, phase: str, steps: int, out: Path, data: Path, latest: Path, first: Path) -> Recipe:
    """The run of a phase, from the model of ``latest``; ``first`` has the mask head to begin with."""
    splits = {
        name: {
            "annotations": str(data / name / "panoptic.json"),
            "images": str(data / name / "images"),
            "panoptic": str(data / name / "panoptic"),
        }
        for name in ("train", "validation")
    }
    views = [
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "RandomResizedCrop", "size": VIEW_HW, "scale": [0.36, 1.0], "ratio": [0.8, 2.0]},
        {
            "name": "ColorJitter",
            "brightness": [0.8, 1.2],
            "contrast": [1, 1],
            "saturation": [0.9, 1.1],
            "p": 1.0,
        },
    ]
    whole = [{"name": "ShortEdgeResize", "short_edges": [VIEW_HW[0]], "max_long_edge": VIEW_HW[1]}]
    is_last = phase == PHASES[-1]
    values: dict[str, Any] = {
        "task": "panoptic" if is_last else "detection",
        "output_dir": str(out),
        "seed": plan.seed,
        "data": {**splits, "workers": 0},
        "transforms": {"train": views, "validation": whole},
        "model": {"pretrained": str(latest), "freeze_backbone": "none"},
        "optim": {
            "epochs": -(-steps * plan.batch_size // plan.scenes),
            "max_steps": steps,
            "batch_size": plan.batch_size,
            "micro_batch_size": plan.batch_size,
            "lr": plan.lr,
            "weight_decay": 1e-4,
            "clip_norm": 0.1,
            "schedule": {"name": "cosine", "warmup_steps": min(100, steps // 10)},
        },
        "evaluation": {"every": 1_000_000, "batch_size": 16},
    }
    if is_last:
        values["model"] = {"detector": str(latest), "mask_head": str(first), "freeze_detector": True}
    else:
        values["optim"]["backbone_lr"] = plan.lr
        values["loss"] = {"eos_coefficient": NO_OBJECT}
    return recipe_from_text(json.dumps(values))


def task_of(plan: Plan, phase: str, recipe: Recipe, data: DataBundle) -> Task:
    """What a phase learns: with the aids, or in the end the package's own stage 2."""
    if phase == PHASES[-1]:
        return build_task(recipe, data)[0]
    model = load_finished(recipe.model.pretrained)  # with the class head, which `build_task` would make anew
    detector = detector_of(model)
    settings = LossSettings(eos_coefficient=NO_OBJECT)
    return AidedDetection(detector, data.labels, settings, plan.groups, dense_alone=phase == PHASES[0])


def learn(recipe: Recipe, make_task: Callable[[Recipe, DataBundle], Task]) -> None:
    """One run of the package's engine: ``metrics.jsonl``, ``last/`` and ``best/`` in its folder."""
    with locked(build_accelerator(recipe), recipe) as accelerator:
        data = build_bundle(recipe.data, recipe.output_dir)
        run = build_run(recipe, accelerator, data, make_task(recipe, data))
        run.train_loader.dataset.with_masks = True  # the dense terms of stage 1 read id maps
        save_record(recipe, accelerator, data)
        train(run)
        run.log.close()
