"""Hand-made images, per-image results and run folders for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.labels import LabelMap
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from tests.html_reader import Page

LABELS = LabelMap.from_names(["brick", "cone"], stuff=["sky"])
SQUARES = [(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 10.0, 10.0), (40.0, 0.0, 10.0, 10.0), (60.0, 0.0, 10.0, 10.0)]


def image_boxes(
    found: Sequence[tuple[int, int, float]], truth: Sequence[tuple[int, int]], crowd: Sequence[bool] = ()
) -> ImageBoxes:
    """Boxes on four squares apart: found as (square, class, score), truth as (square, class)."""
    return ImageBoxes(
        np.array([SQUARES[at] for at, _, _ in found], np.float64).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float64),
        np.array([label for _, label, _ in found], np.int64),
        np.array([SQUARES[at] for at, _ in truth], np.float64).reshape(-1, 4),
        np.array([label for _, label in truth], np.int64),
        np.full(len(truth), 100.0),
        np.array(list(crowd) or [False] * len(truth), bool),
    )


def random_entries(seed: int, images: int = 12, classes: int = 3) -> list[ImageEntry]:
    """Noisy boxes around random ones, some crowds, scores that tell something."""
    rng = np.random.default_rng(seed)
    entries = []
    for image_id in range(images):
        count = int(rng.integers(0, 6))
        truth = np.concatenate([rng.uniform(0, 100, (count, 2)), rng.uniform(10, 60, (count, 2))], 1)
        labels = rng.integers(0, classes, count)
        copies = np.repeat(np.arange(count), 2)
        boxes = truth[copies] + rng.normal(0, 4, (len(copies), 4))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        said = np.where(rng.random(len(copies)) < 0.8, labels[copies], rng.integers(0, classes, len(copies)))
        areas, crowd = truth[:, 2] * truth[:, 3], rng.random(count) < 0.2
        content = ImageBoxes(boxes, rng.random(len(copies)).round(2), said, truth, labels, areas, crowd)
        entries.append(ImageEntry(image_id, 0, content))
    return entries


def foreign_addresses(page: Page) -> list[str]:
    """Every address on a page that is no image in the page itself and no place on it."""
    named = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href") and value
    ]
    return [address for address in named if not address.startswith(("data:image/", "#"))]


def write_run(folder: Path, labels: LabelMap = LABELS, **results: Any) -> Path:
    """A run folder with a recipe, two epochs of log and the results of ``best/``; no model, no data."""
    (folder / "best").mkdir(parents=True)
    labels.save(folder / "best")
    recipe = {
        "task": "detection",
        "output_dir": str(folder),
        "data": {"dataset": "nowhere"},
        "optim": {"epochs": 2},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    rows = {name: {"AP": 0.5, "AP50": 0.7, "AR": 0.6, "objects": 3} for name in labels.names}
    facts = {
        "epoch": 2,
        "step": 4,
        "detection": {"AP": 0.5, "AP50": 0.7, "AR": 0.6, "per_class": rows},
        **results,
    }
    (folder / "best" / "metrics.json").write_text(json.dumps(facts))
    lines = [
        {"step": step, "kind": kind, "epoch": step // 2, **values}
        for step in (2, 4)
        for kind, values in (
            (
                "train",
                {
                    "loss": 8 / step,
                    "loss_ce": 1.0,
                    "lr": {"all": 1e-4},
                    "step_seconds": 3.0,
                    "images_per_second": 2.0,
                },
            ),
            ("validation", {"detection": {"AP": step / 8, "AP50": 0.7, "AR": 0.6}}),
        )
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 5, "kind": "tr')
    return folder
