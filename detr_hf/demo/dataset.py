"""A world written to disk as a COCO panoptic data set: complete or not there at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detr_hf.demo.scene import Scene, draw_scene
from detr_hf.demo.worlds import YARD, World, categories_of
from detr_hf.errors import UserError
from detr_hf.files import replacing
from detr_hf.foreign_files import readable_json
from detr_hf.geometry import boxes_and_areas_of_segments, id_to_rgb

GENERATOR_VERSION = 2  # raise it whenever the same arguments would draw other images
SPEC_NAME = "spec.json"
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92)
_SPLIT_STRIDE = 1_000_000  # scene numbers per split, so that no two splits share a scene
_SIZES_HW = ((240, 320), (240, 240), (320, 240), (270, 360))
_SIZE_SHARES = (0.7, 0.1, 0.1, 0.1)

Entries = tuple[dict[str, Any], dict[str, Any]]
"""What COCO panoptic lists of one image, and of its annotation."""


def ensure_dataset(folder: str | Path, counts: dict[str, int], seed: int, world: World = YARD) -> bool:
    """Make the data set unless the very same one is there; of several processes, let one call it first.

    Returns:
        True when it was written now, False when it was there.

    Raises:
        UserError: as `write_dataset`.
    """
    if spec_of(Path(folder)) == _spec(world, counts, seed):
        return False
    write_dataset(folder, counts, seed, world)
    return True


def write_dataset(folder: str | Path, counts: dict[str, int], seed: int, world: World = YARD) -> None:
    """Write `images/*.jpg`, `panoptic/*.png` and `panoptic.json` into `<folder>/<split>` for every split.

    Image sizes vary (mostly 240x320, times the world's scale). Everything is written to a temporary folder
    beside `folder`, which takes its place when it is complete; an older demo set in that place is replaced.

    Args:
        counts: split -> number of images.

    Raises:
        UserError: a count or the seed out of range, or a folder that holds something else than a demo set.
    """
    target, spec = Path(folder), _spec(world, counts, seed)
    _check(target, counts, seed)
    with replacing(target) as partial_folder:
        for number, (split, count) in enumerate(sorted(counts.items())):
            first = number * _SPLIT_STRIDE
            _write_split(partial_folder / split, world, seed, range(first, first + count))
        (partial_folder / SPEC_NAME).write_text(json.dumps(spec, indent=1), encoding="utf-8")


def _spec(world: World, counts: dict[str, int], seed: int) -> dict[str, Any]:
    spec = {"generator": GENERATOR_VERSION, "world": world.name, "counts": dict(counts), "seed": seed}
    return spec if world.scale == 1 else {**spec, "scale": world.scale}


def spec_of(folder: Path) -> dict[str, Any] | None:
    """The arguments a finished demo set was made with; None where there is none."""
    found = readable_json(folder / SPEC_NAME)
    return found if "generator" in found else None


def _check(target: Path, counts: dict[str, int], seed: int) -> None:
    if seed < 0:
        raise UserError(f"The demo data set's seed is {seed}; it must be 0 or more.")
    for split, count in counts.items():
        if split != Path(split).name or split.startswith("."):
            raise UserError(f"The demo split {split!r} is not a plain folder name.")
        if not 0 < count <= _SPLIT_STRIDE:
            raise UserError(
                f"The demo split {split!r} asks for {count} images; 1 to {_SPLIT_STRIDE} are possible."
            )
    if not counts:
        raise UserError("The demo data set needs at least one split.")
    refuse_strange(target)


def refuse_strange(target: Path) -> None:
    """A folder that would be replaced must be a demo set of ours, or empty.

    Raises:
        UserError: it holds something else.
    """
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and spec_of(target) is None:
        raise UserError(
            f"{target} holds something else than a demo data set; choose another folder or empty it."
        )


def _write_split(folder: Path, world: World, seed: int, scenes: range) -> None:
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    entries = (_write_scene(folder, world, seed, number, index) for number, index in enumerate(scenes))
    write_panoptic_json(folder, entries, world)


def _write_scene(folder: Path, world: World, seed: int, number: int, index: int) -> Entries:
    """Draw scene `index`, the split's image `number`, and write its two files."""
    rng = np.random.default_rng([seed, index])
    height, width = _SIZES_HW[int(rng.choice(len(_SIZES_HW), p=_SIZE_SHARES))]
    scene = draw_scene(seed, index, (height * world.scale, width * world.scale), world=world)
    name = f"{number:06d}.jpg"
    write_image(folder / "images" / name, scene.image, JPEG)
    return write_id_map(folder / "panoptic" / f"{number:06d}.png", scene, index + 1, name, world)


def write_id_map(path: Path, scene: Scene, image_id: int, image_name: str, world: World = YARD) -> Entries:
    """Write the scene's id map as COCO panoptic encodes it; returns what its JSON lists of the scene."""
    write_image(path, id_to_rgb(scene.id_map))
    category_ids = {entry.name: entry.source_id for entry in world.classes}
    ids = np.array([segment["id"] for segment in scene.segments])
    boxes_xyxy_px, areas = boxes_and_areas_of_segments(scene.id_map, ids)
    segments = [
        {
            "id": segment["id"],
            "category_id": category_ids[segment["category"]],
            "area": int(area),
            "bbox": [int(x0), int(y0), int(x1 - x0), int(y1 - y0)],
            "iscrowd": 0,
        }
        for segment, (x0, y0, x1, y1), area in zip(scene.segments, boxes_xyxy_px, areas, strict=True)
    ]
    height, width = scene.id_map.shape
    image = {"id": image_id, "file_name": image_name, "height": height, "width": width}
    return image, {"image_id": image_id, "file_name": path.name, "segments_info": segments}


def write_panoptic_json(folder: Path, entries: Iterable[Entries], world: World = YARD) -> None:
    """Write ``panoptic.json`` of the scenes' entries."""
    images, annotations = zip(*entries, strict=True)
    content = {"images": images, "annotations": annotations, "categories": categories_of(world)}
    (folder / "panoptic.json").write_text(json.dumps(content), encoding="utf-8")


def write_image(path: Path, rgb: np.ndarray, options: Sequence[int] = ()) -> None:
    """Encode ``uint8 [H, W, 3]`` by the suffix of the name; ``options`` are those of ``cv2.imencode``."""
    encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert encoded
    path.write_bytes(data.tobytes())
