"""A world written to disk as a COCO panoptic data set: complete or not there at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detr_hf.demo.scene import Scene, draw_scene
from detr_hf.demo.worlds import WorldName, world_categories
from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, id_to_rgb

GENERATOR_VERSION = 2  # raise it whenever the same arguments would draw other pictures
SPEC_NAME = "spec.json"
_JPEG_QUALITY = 92
_SPLIT_STRIDE = 1_000_000  # scene numbers per split, so that no two splits share a scene
_SIZES_HW = ((240, 320), (240, 240), (320, 240), (270, 360))
_SIZE_SHARES = (0.7, 0.1, 0.1, 0.1)


@dataclass(frozen=True)
class _Job:
    """One scene to draw and where it goes."""

    world: WorldName
    seed: int
    index: int
    image_path: Path
    panoptic_path: Path


def write_dataset(
    folder: str | Path, world: WorldName, counts: dict[str, int], seed: int, workers: int = 1
) -> None:
    """Write `images/*.jpg`, `panoptic/*.png` and `panoptic.json` into `<folder>/<split>` for every split.

    Image sizes vary (mostly 240x320). Everything is written to a temporary folder beside `folder`, which
    takes its place when it is complete; an older demo set in that place is replaced.

    Args:
        counts: split -> number of images.
        workers: processes that draw; the files do not depend on it.

    Raises:
        UserError: no such world, a count or the seed out of range, or a folder that holds something else than
            a demo set.
    """
    target = Path(folder)
    _check(target, world, counts, seed)
    with whole_folder(target) as partial_folder:
        for number, (split, count) in enumerate(sorted(counts.items())):
            _write_split(
                partial_folder / split,
                world,
                seed,
                range(number * _SPLIT_STRIDE, number * _SPLIT_STRIDE + count),
                workers,
            )
        (partial_folder / SPEC_NAME).write_text(
            json.dumps(_spec(world, counts, seed), indent=1), encoding="utf-8"
        )


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block ends without a fault."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_folder = target.parent / f".{target.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        yield partial_folder
        _move_into_place(partial_folder, target)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def ensure_dataset(
    folder: str | Path, world: WorldName, counts: dict[str, int], seed: int, workers: int = 1
) -> bool:
    """Make the data set unless the very same one is there; of several processes, let one call it first.

    Returns:
        True when it was written now, False when it was there.

    Raises:
        UserError: as `write_dataset`.
    """
    if spec_of(Path(folder)) == _spec(world, counts, seed):
        return False
    write_dataset(folder, world, counts, seed, workers)
    return True


def _spec(world: str, counts: dict[str, int], seed: int) -> dict[str, Any]:
    return {"generator": GENERATOR_VERSION, "world": world, "counts": dict(counts), "seed": seed}


def spec_of(folder: Path) -> dict[str, Any] | None:
    """The arguments a finished demo set was made with; None where there is none."""
    try:
        found = json.loads((folder / SPEC_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) and "generator" in found else None


def _check(target: Path, world: WorldName, counts: dict[str, int], seed: int) -> None:
    world_categories(world)  # refuses an unknown world
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


def _move_into_place(finished: Path, target: Path) -> None:
    """Rename; an older set steps aside first, so that a half-deleted one is never seen under the name."""
    aside = finished.with_name(finished.name + ".old")
    if target.exists():
        os.replace(target, aside)
    os.replace(finished, target)
    shutil.rmtree(aside, ignore_errors=True)


def _write_split(folder: Path, world: WorldName, seed: int, indices: range, workers: int) -> None:
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    jobs = [
        _Job(
            world,
            seed,
            index,
            folder / "images" / f"{number:06d}.jpg",
            folder / "panoptic" / f"{number:06d}.png",
        )
        for number, index in enumerate(indices)
    ]
    categories = world_categories(world)
    ids = {category["name"]: category["id"] for category in categories}
    images, annotations = [], []
    for image, annotation in _run(jobs, ids, workers):
        images.append(image)
        annotations.append(annotation)
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content), encoding="utf-8")


def _run(
    jobs: list[_Job], ids: dict[str, int], workers: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    work = partial(_write_scene, category_ids=ids)
    if workers <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        yield from pool.map(work, jobs, chunksize=16)


def _write_scene(job: _Job, category_ids: dict[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw one scene, write its two files and return its COCO image and annotation entries."""
    rng = np.random.default_rng([job.seed, job.index])
    size_hw = _SIZES_HW[int(rng.choice(len(_SIZES_HW), p=_SIZE_SHARES))]
    scene = draw_scene(job.world, job.seed, job.index, size_hw)
    write_picture(job.image_path, scene.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    write_picture(job.panoptic_path, id_to_rgb(scene.id_map), [])
    image_id = job.index + 1
    image = {"id": image_id, "file_name": job.image_path.name, "height": size_hw[0], "width": size_hw[1]}
    segments = segments_info(scene, category_ids)
    return image, {"image_id": image_id, "file_name": job.panoptic_path.name, "segments_info": segments}


def segments_info(scene: Scene, category_ids: dict[str, int]) -> list[dict[str, Any]]:
    """The scene's segments as COCO panoptic lists them; ``category_ids`` by name."""
    ids = np.array([segment["id"] for segment in scene.segments])
    boxes_xyxy_px, areas = boxes_and_areas_of_segments(scene.id_map, ids)
    return [
        {
            "id": segment["id"],
            "category_id": category_ids[segment["category"]],
            "area": int(area),
            "bbox": [int(x0), int(y0), int(x1 - x0), int(y1 - y0)],
            "iscrowd": 0,
        }
        for segment, (x0, y0, x1, y1), area in zip(scene.segments, boxes_xyxy_px, areas, strict=True)
    ]


def write_picture(path: Path, rgb: np.ndarray, options: list[int]) -> None:
    """Encode ``uint8 [H, W, 3]`` by the suffix of the name; ``options`` are those of ``cv2.imencode``."""
    encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert encoded
    path.write_bytes(data.tobytes())
