"""Repaired samples made by hand, for the tests of sinks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.repair_objects import encoded_mask
from detr_hf.data.sample import Annotation, Sample

SIZE_HW = (48, 64)
CATEGORIES: list[dict[str, Any]] = [
    {"id": 3, "name": "brick", "isthing": 1, "color": [200, 0, 0], "supercategory": "stone"},
    {"id": 7, "name": "cone", "isthing": 1, "color": [0, 200, 0], "note": "new"},
    {"id": 9, "name": "sky", "isthing": 0, "color": [0, 0, 200]},
]
TRIANGLE = [5.0, 6.0, 25.0, 6.0, 15.0, 24.0]


def write_image(file: Path, seed: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def thing(number: int, bbox: list[float], category: str = "brick", **values: Any) -> Annotation:
    area = bbox[2] * bbox[3]
    known: dict[str, Any] = {"id": number, "category": category, "bbox": bbox, "area": area}
    return Annotation(**(known | {"where": f"annotation {number}"} | values))


def boxes_sample(folder: Path, name: str = "a/0.png", number: int = 10) -> Sample:
    """Two boxes without outlines."""
    objects = [thing(5, [5.25, 6.0, 20.5, 18.0]), thing(6, [40.0, 10.0, 24.0, 38.0], "cone")]
    image = write_image(folder / name, number)
    return Sample(image, name, number, objects, SIZE_HW, size_hw=SIZE_HW, extra={"license": 4})


def outlines_sample(folder: Path, name: str = "b.png", number: int = 11) -> Sample:
    """A triangle, an L of run lengths, a box and a crowd."""
    corner = np.zeros(SIZE_HW, bool)
    corner[30:40, 30:34] = corner[36:40, 30:50] = True
    objects = [
        thing(5, [5.0, 6.0, 20.0, 18.0], segmentation=[TRIANGLE], area=180.0, extra={"tag": "x"}),
        thing(6, [30.0, 30.0, 20.0, 10.0], "cone", segmentation=encoded_mask(corner), area=104.0),
        thing(7, [0.0, 0.0, 8.0, 4.0], score=0.5),
        thing(8, [50.0, 0.0, 10.0, 10.0], "cone", iscrowd=True),
    ]
    image = write_image(folder / name, number)
    return Sample(image, name, number, objects, SIZE_HW, size_hw=SIZE_HW)


def panoptic_sample(folder: Path, name: str = "c.png", number: int = 12) -> Sample:
    """Sky above, a brick of two parts below; the rest is void."""
    id_map = np.zeros(SIZE_HW, np.int32)
    id_map[:20] = 70_000
    id_map[30:40, 10:20] = id_map[30:35, 40:60] = 300
    objects = [
        thing(70_000, [0.0, 0.0, 64.0, 20.0], "sky", area=1280.0),
        thing(300, [10.0, 30.0, 50.0, 10.0], area=200.0, extra={"pseudo": True}),
    ]
    image = write_image(folder / name, number)
    return Sample(image, name, number, objects, SIZE_HW, png_bytes(id_map), SIZE_HW)
