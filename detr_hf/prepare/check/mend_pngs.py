"""Mending of one panoptic picture: its PNG made an RGB id map of the right size, its segments recounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.foreign_files import inside
from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_xyxy_to_xywh,
    id_to_rgb,
    rgb_to_id,
    upright_array,
)
from detr_hf.images import decode_id_map, image_size
from detr_hf.prepare.check.mend_pictures import SAME_SHAPE, Entry, Mended, opened
from detr_hf.prepare.check.upright import orientation_of

KNOWN_SHARE = 0.5  # of the pixels with an id; below, PNG and JSON are not of one picture


def mend_panoptic(
    image: Entry, segments: list[Entry], path: Path, split: str, png: Path, name: str, out: Path
) -> Mended:
    """Write the picture's PNG to ``out`` and bring its segments in line with it.

    Args:
        image, segments: as in the file, segment ids and categories already checked for their types.
        path, png: the picture and its PNG.
        name: of the PNG in its folder.
        out: folder for mended PNGs.
    """
    mended = opened(image, _with_sound_ids(segments), path, split)
    if len(mended.objects) < len(segments):
        mended.note("object dropped", "segment ids that stand twice or are no ids")
    if not mended.keep:
        return mended
    known = [entry["id"] for entry in mended.objects]
    id_map = next(_readings(png, known), None)
    if id_map is None:
        return mended.drop(f"its PNG {png} is damaged, or most of its ids are none of its segments")
    fitted = _fitted(id_map, mended.size_hw, orientation_of(path))
    if fitted is None:
        return mended.drop(f"its PNG is {id_map.shape[1]}x{id_map.shape[0]}, another shape than the image")
    if fitted.shape != id_map.shape or not np.array_equal(fitted, id_map):
        mended.note("PNG resized", f"from {id_map.shape[1]}x{id_map.shape[0]}")
    unknown = (fitted != 0) & ~np.isin(fitted, known)
    if unknown.any():
        mended.note("pixels voided", f"{int(unknown.sum())} pixels of ids that no segment has")
        fitted = np.where(unknown, 0, fitted)
    _write(fitted, png, inside(out, name), mended)
    _recount(mended, fitted)
    return mended


def _with_sound_ids(segments: list[Entry]) -> list[Entry]:
    kept: dict[int, Entry] = {}
    for entry in segments:
        number = entry.get("id")
        if type(number) is int and 0 < number < 1 << 24:
            kept.setdefault(number, entry)
    return list(kept.values())


def _readings(png: Path, known: list[int]) -> Iterator[NDArray[np.int32]]:
    """Ways to read the file as an id map that fit the listed segments, the proper one first."""
    candidates: list[NDArray[np.int32]] = []
    try:
        candidates.append(decode_id_map(png))
    except UserError:
        candidates += _improper(png)
    for id_map in candidates:
        marked = id_map[id_map != 0]
        if not marked.size or np.isin(marked, known).mean() >= KNOWN_SHARE:
            yield id_map


def _improper(png: Path) -> list[NDArray[np.int32]]:
    """What a palette, gray or transparent PNG may mean: its colors as an id, or its plain values."""
    try:
        image_size(png)  # refuses what is no picture, or too large
        with Image.open(png) as picture:
            if picture.format != "PNG":
                return []
            colors = rgb_to_id(np.array(picture.convert("RGB"), np.uint8))
            values = np.array(picture)
    except (UserError, OSError, SyntaxError, ValueError):
        return []
    return [colors, values.astype(np.int32)] if values.ndim == 2 else [colors]


def _fitted(
    id_map: NDArray[np.int32], size_hw: tuple[int, int], orientation: int
) -> NDArray[np.int32] | None:
    """The map at the picture's size: turned, or scaled by nearest where the shape is the same."""
    if id_map.shape == size_hw:
        return id_map
    if id_map.shape == size_hw[::-1] and orientation >= 5:
        return upright_array(id_map, orientation)
    if abs(id_map.shape[1] * size_hw[0] / (id_map.shape[0] * size_hw[1]) - 1) > SAME_SHAPE:
        return None
    rows = np.arange(size_hw[0]) * id_map.shape[0] // size_hw[0]
    columns = np.arange(size_hw[1]) * id_map.shape[1] // size_hw[1]
    return id_map[rows[:, None], columns]


def _write(id_map: NDArray[np.int32], source: Path, out: Path, mended: Mended) -> None:
    """Copy the PNG where it is as it should be, else write it anew."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        same = np.array_equal(decode_id_map(source), id_map)
    except UserError:
        same = False
        mended.note("PNG written as RGB", f"{source.name} was no 8-bit RGB id map")
    if same:
        copyfile(source, out)
    else:
        Image.fromarray(id_to_rgb(id_map)).save(out, "PNG")


def _recount(mended: Mended, id_map: NDArray[np.int32]) -> None:
    """Boxes and areas as the PNG has them; segments without a pixel are dropped."""
    boxes, areas = boxes_and_areas_of_segments(
        id_map, np.array([entry["id"] for entry in mended.objects], np.int64)
    )
    kept = []
    for entry, box, area in zip(
        mended.objects, boxes_xyxy_to_xywh(boxes).astype(int).tolist(), areas.tolist(), strict=True
    ):
        if area == 0:
            mended.note("object dropped", f"segment {entry['id']} has no pixel")
            continue
        if entry.get("area") != area or entry.get("bbox") != box:
            mended.note("recounted", f"segment {entry['id']}: box {box}, area {area}")
        kept.append(entry | {"bbox": box, "area": area})
    mended.objects = kept
