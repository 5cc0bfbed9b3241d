"""The tiny Deformable DETR's pretraining: one run of stage 1 on the street, from the tiny DETR's backbone.

It needs no aids: box refinement, and points sampled near the objects, make it learn from the first step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import DeformableDetrForObjectDetection, DeformableDetrImageProcessor

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.worlds import categories_of
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.deformable_detr import DEFORMABLE_DETR
from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe import DetectionLoss
from detr_hf.training.build import build_task
from tools.pretrain_tiny.architecture import tiny_deformable_config
from tools.pretrain_tiny.pretrain import Plan, learn, recipe_of
from tools.pretrain_tiny.street import STREET

STEPS = 3000


def pretrain_deformable(plan: Plan, out: Path, data: Path, steps: int = STEPS) -> Path:
    """One run in a folder of ``out``; ``data`` gets the scenes. The same call resumes it.

    Returns:
        The folder of the checkpoint.
    """
    labels = LabelMap.from_coco(categories_of(STREET))
    ensure_dataset(data, {"train": plan.scenes, "validation": plan.held_out}, plan.seed, world=STREET)
    start = _start(out / "start", labels, plan.seed)
    recipe = recipe_of(plan, "detector", steps, out / "detector", data, start, start)
    recipe = replace(recipe, loss=DetectionLoss())  # the family's own
    learn(recipe, lambda given, bundle: build_task(given, bundle)[0])
    return out / "detector" / "best"


def _start(folder: Path, labels: LabelMap, seed: int) -> Path:
    """Random weights as the reference draws them, around the tiny DETR's backbone."""
    if not (folder / "label_map.json").is_file():
        torch.manual_seed(seed)
        detector = DeformableDetrForObjectDetection(tiny_deformable_config(labels))
        DEFORMABLE_DETR.initialize(detector)
        donor = load_finished(str(CHECKPOINT)).detr.model.backbone
        detector.model.backbone.load_state_dict(donor.state_dict(), strict=True)
        detector.save_pretrained(folder)
        DeformableDetrImageProcessor().save_pretrained(folder)
        labels.save(folder)
    return folder
