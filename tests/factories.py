"""Seeded tiny data sets: colored rectangles and ellipses on noise, as COCO detection and panoptic
exports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.geometry import id_to_rgb
from detr_hf.recipe import Split

THINGS = ("brick", "cone", "plank")
STUFF = ("sky", "ground")
COLORS = {
    "brick": (200, 40, 40),
    "cone": (240, 140, 20),
    "plank": (40, 90, 200),
    "sky": (150, 190, 240),
    "ground": (120, 90, 60),
}
SOURCE_IDS = {"brick": 3, "cone": 7, "plank": 12, "sky": 101, "ground": 105}

Mend = Callable[[dict[str, Any]], None]


@dataclass
class Scene:
    """One drawn picture: ``uint8 [H, W, 3]``, id map ``int32 [H, W]`` and the segments seen in it."""

    image: np.ndarray
    id_map: np.ndarray
    segments: list[dict[str, Any]] = field(default_factory=list)


def draw_scene(
    rng: np.random.Generator, size_hw: tuple[int, int], objects: int, stuff: bool = False, crowd: bool = False
) -> Scene:
    """Bands of stuff (if wanted), then shapes over one another; the first shape is a crowd if wanted.

    The ten topmost rows stay void, whatever is drawn.
    """
    height, width = size_hw
    image = rng.integers(60, 120, (height, width, 3)).astype(np.uint8)
    scene = Scene(image, np.zeros(size_hw, np.int32))
    if stuff:
        horizon = int(height * rng.uniform(0.4, 0.6))
        _paint(scene, _rows(size_hw, 10, horizon), "sky", 70_000, False, rng)
        _paint(scene, _rows(size_hw, horizon, height), "ground", 70_001, False, rng)
    for at in range(objects):
        name = THINGS[int(rng.integers(len(THINGS)))]
        _paint(scene, _shape(size_hw, rng), name, 300 + 257 * at, crowd and at == 0, rng)
    seen = set(np.unique(scene.id_map).tolist())
    scene.segments = [segment for segment in scene.segments if segment["id"] in seen]
    return scene


def _rows(size_hw: tuple[int, int], start: int, stop: int) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[start:stop] = True
    return mask


def _shape(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = size_hw
    h, w = (int(side * rng.uniform(0.15, 0.45)) for side in size_hw)
    top, left = int(rng.integers(10, height - h)), int(rng.integers(0, width - w))
    y, x = np.mgrid[:height, :width]
    box = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
    if rng.random() < 0.5:
        return box
    return box & (((y - top - h / 2) / (h / 2)) ** 2 + ((x - left - w / 2) / (w / 2)) ** 2 <= 1)


def _paint(
    scene: Scene, mask: np.ndarray, name: str, number: int, crowd: bool, rng: np.random.Generator
) -> None:
    color = np.clip(np.array(COLORS[name]) + rng.integers(-12, 13, 3), 0, 255)
    scene.image[mask] = color
    scene.id_map[mask] = number
    scene.segments.append({"id": number, "category_id": SOURCE_IDS[name], "iscrowd": int(crowd)})


def categories(stuff: bool) -> list[dict[str, Any]]:
    """COCO categories of the scenes, with gaps between the ids and in no order."""
    names = [*(STUFF if stuff else ()), *THINGS]
    return [{"id": SOURCE_IDS[name], "name": name, "isthing": int(name in THINGS)} for name in names]


def _draw_all(
    count: int, seed: int, sizes_hw: Sequence[tuple[int, int]], empty: int, stuff: bool, crowd: bool
) -> list[Scene]:
    rng = np.random.default_rng(seed)
    objects = [0 if at < empty else int(rng.integers(1, 5)) for at in range(count)]
    return [draw_scene(rng, sizes_hw[at % len(sizes_hw)], objects[at], stuff, crowd) for at in range(count)]


def _image_entries(scenes: list[Scene], folder: Path) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for at, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / f"{at:03d}.jpg", quality=95)
        height, width = scene.id_map.shape
        entries.append({"id": 10 + at, "file_name": f"{at:03d}.jpg", "height": height, "width": width})
    return entries


def _tight_box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]


def write_coco_detection(
    folder: Path,
    count: int = 6,
    seed: int = 0,
    sizes_hw: Sequence[tuple[int, int]] = ((96, 128), (120, 90)),
    empty: int = 1,
    crowd: bool = False,
    mend: Mend | None = None,
) -> Split:
    """A COCO detection export; the first ``empty`` images have no objects, ``mend`` may change the JSON."""
    scenes = _draw_all(count, seed, sizes_hw, empty, stuff=False, crowd=crowd)
    content: dict[str, Any] = {
        "images": _image_entries(scenes, folder / "images"),
        "categories": categories(stuff=False),
    }
    content["annotations"] = [
        segment
        | {
            "image_id": image["id"],
            "bbox": _tight_box(mask),
            "area": int(mask.sum()),
            "id": 1000 * image["id"] + at,
        }
        for image, scene in zip(content["images"], scenes, strict=True)
        for at, segment in enumerate(scene.segments)
        if (mask := scene.id_map == segment["id"]).any()
    ]
    return _written(folder, content, mend, panoptic=False)


def write_coco_panoptic(
    folder: Path,
    count: int = 4,
    seed: int = 0,
    sizes_hw: Sequence[tuple[int, int]] = ((96, 128), (120, 90)),
    empty: int = 0,
    crowd: bool = False,
    mend: Mend | None = None,
) -> Split:
    """A COCO panoptic export with stuff and a void strip; boxes and areas in it are wrong on purpose."""
    scenes = _draw_all(count, seed, sizes_hw, empty, stuff=True, crowd=crowd)
    content: dict[str, Any] = {
        "images": _image_entries(scenes, folder / "images"),
        "categories": categories(stuff=True),
    }
    content["annotations"] = []
    (folder / "panoptic").mkdir(parents=True, exist_ok=True)
    for image, scene in zip(content["images"], scenes, strict=True):
        name = f"{image['id']}_map.png"
        Image.fromarray(id_to_rgb(scene.id_map)).save(folder / "panoptic" / name)
        segments = [segment | {"bbox": [0, 0, 1, 1], "area": 1} for segment in scene.segments]
        content["annotations"].append({"image_id": image["id"], "file_name": name, "segments_info": segments})
    return _written(folder, content, mend, panoptic=True)


def _written(folder: Path, content: dict[str, Any], mend: Mend | None, panoptic: bool) -> Split:
    if mend is not None:
        mend(content)
    file = folder / "annotations.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    png_folder = str(folder / "panoptic") if panoptic else None
    return Split(annotations=str(file), images=str(folder / "images"), panoptic=png_folder)
