"""Exports of Label Studio for tests, and what is read of them."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from detr_hf.data.sample import Sample
from detr_hf.data.sources import label_studio
from detr_hf.data.sources.base import Opened, Place

WIDTH, HEIGHT = 200, 100


BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


def image(path: Path, size=(WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (30, 90, 60)).save(path)
    return path


def result(kind: str = "rectanglelabels", value: dict | None = None, label: Any = "cat", **more) -> dict:
    value = {**(BOX if value is None else value)}
    if label is not None:
        value[kind] = [label]
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {
        "id": "aB3",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        **sizes,
        "value": value,
        **more,
    }


def task(*results: Any, image: Any = "/data/upload/3/a.jpg", number: Any = 7, **more) -> dict:
    annotations = [{"id": 1, "completed_by": 1, "was_cancelled": False, "result": list(results)}]
    return {"id": number, "annotations": annotations, "predictions": [], "data": {"image": image}, **more}


def export(root: Path, *tasks: Any, name: str = "project-1-at-2024.json", with_image: bool = True) -> Path:
    if with_image:
        image(root / "images/a.jpg")
    (root / name).write_text(json.dumps(list(tasks)))
    return root


def opened(path: Path, images: Path | None = None) -> Opened:
    assert label_studio.detect(path)
    return label_studio.open_splits(Place(path, str(path), images=images))


def samples(path: Path, images: Path | None = None) -> list[Sample]:
    (source,) = opened(path, images).splits.values()
    found = list(source.samples())
    assert len(found) == len(source)
    return found


def codes(sample: Sample) -> list[str]:
    return [issue.code for issue in sample.issues]


def of_results(root: Path, *results: Any) -> Sample:
    return samples(export(root, task(*results)))[0]
