"""Folders as finished runs leave them, without training."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from detr_hf.labels import LabelMap
from detr_hf.recipe import Split, recipe_to_yaml
from tests.tiny_runs import (
    ALL_LABELS,
    THING_LABELS,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

ENVIRONMENT = {
    "git_commit": "0123abc",
    "libraries": {"torch": "2.9", "transformers": "5.0", "wandb": None},
    "processes": 1,
    "device": "cpu",
    "images": {"train": 40, "validation": 8},
}


def detection_results(labels: LabelMap) -> dict[str, Any]:
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR")
    numbers = {name: 0.5 + 0.01 * place for place, name in enumerate(names)}
    row = {"AP": 0.5, "AP50": 0.6, "AR": 0.7, "objects": 9}
    return {**numbers, "AP_small": None, "per_class": dict.fromkeys(labels.names, row)}


def panoptic_results(labels: LabelMap) -> dict[str, Any]:
    part = {"pq": 0.61239, "sq": 0.8, "rq": 0.75, "n": 4}
    row = {"pq": 0.6, "sq": 0.8, "rq": 0.75, "tp": 5, "fp": 1, "fn": 2}
    shares = {"All": part, "Things": {**part, "pq": 0.7}, "Stuff": {**part, "pq": 0.5}}
    return {**shares, "per_class": dict.fromkeys(labels.names, row)}


@cache
def _model(panoptic: bool, seed: int) -> Path:
    """A model folder that tests copy; it goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="model-")
    atexit.register(folder.cleanup)
    return (save_segmenter if panoptic else save_detector)(Path(folder.name) / "best", seed=seed)


def finished_run(folder: Path, *overrides: str, panoptic: bool = True, seed: int = 0, epoch: int = 3) -> Path:
    """A run's folder: best/, records, tables and two pictures."""
    split = Split(
        annotations=str(folder.parent / "data" / "train.json"),
        images=str(folder.parent / "data" / "images"),
        panoptic=str(folder.parent / "data" / "png") if panoptic else None,
    )
    labels = ALL_LABELS if panoptic else THING_LABELS
    results: dict[str, Any] = {"epoch": epoch, "step": 30, "detection": detection_results(labels)}
    shutil.copytree(_model(panoptic, seed), folder / "best", dirs_exist_ok=True)
    if panoptic:
        stage_1 = folder.parent / "stage1" / "best"
        recipe = panoptic_recipe(folder, split, stage_1, "facebook/detr-resnet-50-panoptic", *overrides)
        results["panoptic"] = panoptic_results(labels)
    else:
        recipe = detection_recipe(folder, split, Path("facebook/detr-resnet-50"), *overrides)
    (folder / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    (folder / "best" / "metrics.json").write_text(json.dumps(results))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    (folder / "metrics.jsonl").write_text('{"step": 30, "kind": "train"}\n')
    (folder / "results.md").write_text("# Results\n")
    (folder / "report.html").write_text("<html></html>")
    (folder / "pictures").mkdir(exist_ok=True)
    for name in ("000_a b.jpg", "001_c.jpg"):
        Image.new("RGB", (8, 8), (90, 90, 200)).save(folder / "pictures" / name)
    return folder
