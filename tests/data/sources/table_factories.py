"""Small tables of images in the layouts that others use."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Features, List, Value
from PIL import Image

BOXES = [[1.0, 2.0, 10.0, 12.0], [20.0, 5.0, 8.0, 8.0]]
NAMES = ["cone", "brick"]


def png(size_wh: tuple[int, int] = (40, 30), value: int = 90) -> bytes:
    """A file of one color."""
    stream = BytesIO()
    Image.new("RGB", size_wh, (value, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def cell() -> dict[str, Any]:
    """An undecoded image as a table stores it."""
    return {"bytes": png(), "path": None}


LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dict of lists, class labels": (
        {
            "image": datasets.Image(),
            "objects": {"bbox": List(List(Value("float32"))), "category": List(ClassLabel(names=NAMES))},
        },
        {"objects": {"bbox": BOXES, "category": [1, 0]}},
    ),
    "list of dicts, other spellings": (
        {
            "img": datasets.Image(),
            "image_id": Value("int64"),
            "width": Value("int64"),
            "height": Value("int64"),
            "annotations": List(
                {"box": List(Value("float64")), "label": ClassLabel(names=NAMES), "is_crowd": Value("bool")}
            ),
        },
        {
            "image_id": 5,
            "width": 40,
            "height": 30,
            "annotations": [{"box": box, "label": 1 - at, "is_crowd": False} for at, box in enumerate(BOXES)],
        },
    ),
    "names as text": (
        {
            "picture": datasets.Image(),
            "objects": {"boxes": List(List(Value("float32"))), "labels": List(Value("string"))},
        },
        {"objects": {"boxes": BOXES, "labels": ["brick", "cone"]}},
    ),
    "lists at the top of the row": (
        {
            "image": datasets.Image(),
            "id": Value("string"),
            "bboxes": List(List(Value("float32"))),
            "category_id": List(ClassLabel(names=NAMES)),
        },
        {"id": "abc", "bboxes": BOXES, "category_id": [1, 0]},
    ),
}
CLASS_LABELS = LAYOUTS["dict of lists, class labels"]
NUMBERS = {"bbox": List(List(Value("float32"))), "category": List(Value("int64"))}
"""The objects of a table whose classes are plain numbers."""


def table(features: dict[str, Any], rows: list[dict[str, Any]]) -> datasets.Dataset:
    """A table in memory."""
    columns = {name: [row[name] for row in rows] for name in features}
    return datasets.Dataset.from_dict(columns, features=Features(features))


def save(folder: Path, features: dict[str, Any], rows: list[dict[str, Any]], split: str = "train") -> Path:
    """A data set of one split, written by `save_to_disk`."""
    datasets.DatasetDict({split: table(features, rows)}).save_to_disk(folder)
    return folder
