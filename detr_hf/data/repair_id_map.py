"""A panoptic image put right: its PNG an RGB id map of the image's size, its segments counted in it.

Format: https://cocodataset.org/#format-data (panoptic segmentation): a segment's id is R + 256 G + 65536 B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.frames import SIDEWAYS, is_same_shape
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError, quantity
from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_xyxy_to_xywh,
    id_to_rgb,
    rgb_to_id,
    upright_array,
)
from detr_hf.images import ImageFacts, decode_id_map, image_size

IdMap = NDArray[np.int32]

KNOWN_SHARE = 0.5  # of the pixels with an id; below, PNG and annotations are not of one image
MOST_LISTED = 5


def repair_id_map(sample: Sample, facts: ImageFacts) -> tuple[Sample | None, list[Issue]]:
    """The sample with an id map that fits the image, and segments that fit the id map.

    ``id_map`` stays the file where that is right as it is, else it becomes the bytes of a PNG.
    """
    issues: list[Issue] = []
    file = sample.file_name

    def note(code: str, text: str) -> None:
        issues.append(Issue(code, text, file))

    source = sample.id_map() if callable(sample.id_map) else sample.id_map
    assert source is not None
    if isinstance(source, Path) and not source.exists():
        note("png-missing", f"there is no file {source}")
        return None, issues
    segments = _with_sound_ids(sample.objects, note)
    known = [one.id for one in segments]
    read = _read(source, known, note)
    if read is None:
        return None, issues
    fitted = _fitted(read, facts, note)
    if fitted is None:
        return None, issues
    boxes, areas = boxes_and_areas_of_segments(fitted, np.array(known, np.int64))
    if np.count_nonzero(fitted) > areas.sum():
        unknown = (fitted != 0) & ~np.isin(fitted, known)
        ids = np.unique(fitted[unknown]).tolist()
        more = f" and {len(ids) - MOST_LISTED} more" if len(ids) > MOST_LISTED else ""
        shown = ", ".join(map(str, ids[:MOST_LISTED]))
        note("png-unknown-ids", f"{quantity(int(unknown.sum()), 'pixel')} of ids {shown}{more}")
        fitted = np.where(unknown, 0, fitted)
    classless = [one.id for one in segments if one.category is None]
    for one in segments:
        if one.category is None:
            note("category-unknown", f"{one.where}: category {str(one.category_id)[:50]}")
    if classless:
        fitted = np.where(np.isin(fitted, classless), 0, fitted)
    objects = _counted(segments, boxes, areas, note)
    changed = any(
        issue.code in ("png-not-rgb", "png-resized", "png-unknown-ids", "category-unknown")
        for issue in issues
    )
    id_map = png_bytes(fitted) if changed else source
    return replace(sample, objects=objects, size_hw=facts.size_hw, id_map=id_map, issues=()), issues


def png_bytes(id_map: IdMap) -> bytes:
    """An id map int32 [H, W] as the bytes of an RGB PNG."""
    stream = BytesIO()
    Image.fromarray(id_to_rgb(id_map)).save(stream, "PNG")
    return stream.getvalue()


def _with_sound_ids(segments: list[Annotation], note: Any) -> list[Annotation]:
    kept: dict[int, Annotation] = {}
    for one in segments:
        if type(one.id) is not int or not 0 < one.id < 1 << 24:
            note("segment-id", f"{one.where}: its id is not a whole number from 1 to 2^24 - 1 (0 is void)")
        elif one.id in kept:
            note("segment-id", f"segment id {one.id} stands twice")
        else:
            kept[one.id] = one
    return list(kept.values())


def _read(source: Path | bytes, known: list[int], note: Any) -> IdMap | None:
    """The PNG as an id map that fits the listed segments."""
    name = source.name if isinstance(source, Path) else "its PNG"
    try:
        proper = decode_id_map(source, name)
    except UserError as error:
        for candidate in _improper(source):
            if _fits(candidate, known):
                note("png-not-rgb", str(error))
                return candidate
        note("png-unreadable", str(error))
        return None
    if not _fits(proper, known):
        note("png-unreadable", f"{name}: most of its ids are none of its segments")
        return None
    return proper


def _fits(id_map: IdMap, known: list[int]) -> bool:
    _, areas = boxes_and_areas_of_segments(id_map, np.array(known, np.int64))
    return bool(areas.sum() >= KNOWN_SHARE * np.count_nonzero(id_map))


def _improper(source: Path | bytes) -> Iterator[IdMap]:
    """What a palette, gray or transparent PNG may mean: its colors as an id, or its plain values."""
    try:
        image_size(source)  # refuses what is no image, or too large
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.format != "PNG":
                return
            values = np.array(image)
            colors = rgb_to_id(np.array(image.convert("RGB"), np.uint8))
    except (UserError, OSError, SyntaxError, ValueError):
        return
    yield colors
    if values.ndim == 2:
        yield values.astype(np.int32)


def _fitted(id_map: IdMap, facts: ImageFacts, note: Any) -> IdMap | None:
    """The map at the image's size: turned, or scaled by the nearest pixel where the shape is the same."""
    size_hw, was = facts.size_hw, f"{id_map.shape[1]}x{id_map.shape[0]}"
    if id_map.shape == size_hw:
        return id_map
    text = f"its PNG is {was}, the image is {size_hw[1]}x{size_hw[0]}"
    if id_map.shape == size_hw[::-1] and facts.orientation in SIDEWAYS:
        note("png-resized", f"{text} once its EXIF rotation is applied")
        return upright_array(id_map, facts.orientation)
    if not id_map.size or not is_same_shape((id_map.shape[0], id_map.shape[1]), size_hw):
        note("png-size", text)
        return None
    note("png-resized", text)
    rows = np.arange(size_hw[0]) * id_map.shape[0] // size_hw[0]
    columns = np.arange(size_hw[1]) * id_map.shape[1] // size_hw[1]
    return id_map[rows[:, None], columns]


def _counted(
    segments: list[Annotation], boxes_xyxy_px: NDArray[np.float32], areas: NDArray[np.int64], note: Any
) -> list[Annotation]:
    """Boxes and areas as the PNG has them; segments without a class or a pixel are dropped."""
    kept = []
    boxes = boxes_xyxy_to_xywh(boxes_xyxy_px).tolist()
    for one, box, area in zip(segments, boxes, areas.tolist(), strict=True):
        if one.category is None:
            continue
        if area == 0:
            note("segment-not-in-png", one.where)
            continue
        if one.area is not None and one.area != area:
            note("png-area", f"{one.where}: {str(one.area)[:20]} in the annotations, {area} in the PNG")
        if one.bbox is not None and not _near(one.bbox, box):
            note("png-box", f"{one.where}: {str(one.bbox)[:80]} in the annotations, {box} in the PNG")
        kept.append(replace(one, bbox=box, area=float(area), segmentation=None))
    return kept


def _near(given: Any, counted: list[float]) -> bool:
    try:
        return len(given) == 4 and all(abs(a - b) <= 1 for a, b in zip(given, counted, strict=True))
    except (TypeError, OverflowError):
        return False
