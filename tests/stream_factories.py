"""Data sets as a few Parquet files of different length, as a Hub data set or a large local one is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from detr_hf.data.bundle import dataset_features
from detr_hf.geometry import id_to_rgb
from tests.factories import SOURCE_IDS, STUFF, THINGS, Scene, draw_scene

UNEVEN = (3, 5, 1, 2)
FIRST_ID = 100


def write_parquet(
    folder: Path,
    shards: Sequence[int] = UNEVEN,
    validation: int = 4,
    stuff: bool = False,
    broken: Sequence[int] = (),
    changes: Mapping[int, Mapping[str, Any]] | None = None,
    size_hw: tuple[int, int] = (96, 128),
) -> Path:
    """A folder of `train-....parquet` with so many images each, and one file of the validation split.

    Image ids count from 100 through the training files. The JPEGs of the ``broken`` ones are cut short;
    ``changes`` replaces columns of single rows, by image id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [*THINGS, *(STUFF if stuff else ())]
    rng = np.random.default_rng(3)
    number = FIRST_ID
    for split, counts in {"train": tuple(shards), "validation": (validation,)}.items():
        for at, count in enumerate(counts):
            rows = []
            for _ in range(count):
                scene = draw_scene(rng, size_hw, int(rng.integers(1, 5)), stuff)
                row = _row(scene, number, names, number in broken)
                rows.append({**row, **(changes or {}).get(number, {})})
                number += 1
            table = datasets.Dataset.from_list(rows, features=dataset_features(names, stuff))
            table.to_parquet(folder / f"{split}-{at:05d}-of-{len(counts):05d}.parquet")
    return folder


def _row(scene: Scene, number: int, names: Sequence[str], is_broken: bool) -> dict[str, Any]:
    picture = _file(scene.image, "JPEG")
    height, width = scene.id_map.shape
    seen = [segment for segment in scene.segments if (scene.id_map == segment["id"]).any()]
    masks = [scene.id_map == segment["id"] for segment in seen]
    name_of = {number: name for name, number in SOURCE_IDS.items()}
    row = {
        "image": {"bytes": picture[:-500] if is_broken else picture, "path": None},
        "image_id": number,
        "file_name": f"{number}.jpg",
        "width": width,
        "height": height,
        "objects": {
            "id": [segment["id"] for segment in seen],
            "bbox": [_box(mask) for mask in masks],
            "category": [names.index(name_of[segment["category_id"]]) for segment in seen],
            "area": [float(mask.sum()) for mask in masks],
            "iscrowd": [False for _ in seen],
        },
    }
    if len(names) > len(THINGS):
        row["panoptic"] = {"bytes": _file(id_to_rgb(scene.id_map), "PNG"), "path": None}
    return row


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]


def _file(pixels: np.ndarray, kind: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
