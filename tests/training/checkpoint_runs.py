"""Small runs whose checkpoints are looked at."""

from __future__ import annotations

from pathlib import Path

from detr_hf.recipe import Recipe, Split
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.family_models import save_family
from tests.tiny_runs import (
    ALL_LABELS,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

FAMILIES = ("conditional_detr", "dab_detr", "deformable_detr_two_stage")

ONE_STEP = ("optim.max_steps=1", "optim.schedule.warmup_steps=0")


def write_home(folder: Path) -> Path:
    """Data and starting weights."""
    write_coco_detection(folder / "boxes", count=8)
    write_coco_panoptic(folder / "masks", count=8)
    save_detector(folder / "start")
    save_detector(folder / "stage1", ALL_LABELS)
    save_segmenter(folder / "head")
    for variant in FAMILIES:
        save_family(variant, folder / variant)
    return folder


def recipe_of(stage: str, home: Path, output: Path, *overrides: str) -> Recipe:
    """Four steps in two epochs, with the dropout of a real DETR; a family stands for stage 1 of it, and
    "groups" for stage 1 with query groups."""
    changes = ["optim.epochs=2", "optim.schedule.warmup_steps=2", "optim.schedule.drop_at=0.6", *overrides]
    if stage == "groups":
        stage, changes = "detection", [*changes, "loss.query_groups=3"]
    if stage == "detection" or stage in FAMILIES:
        boxes, start = home / "boxes", home / ("start" if stage == "detection" else stage)
        split = Split(annotations=str(boxes / "annotations.json"), images=str(boxes / "images"))
        return detection_recipe(output, split, start, *changes)
    masks = home / "masks"
    files = {
        "annotations": masks / "annotations.json",
        "images": masks / "images",
        "panoptic": masks / "panoptic",
    }
    split = Split(**{name: str(path) for name, path in files.items()})
    return panoptic_recipe(output, split, home / "stage1", home / "head", *changes)


def flip_a_byte(file: Path) -> None:
    """Same size, same header, another weight: nothing but the hash can tell."""
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
