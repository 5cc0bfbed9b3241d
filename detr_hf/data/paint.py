"""Objects and stuff of one image to one id map, in which no two overlap.

What lies over what: pseudo-labeled stuff at the bottom, then crowds, then objects, the larger below the
smaller. Polygons cover the pixels that pycocotools says they cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from detr_hf.data.issues import Issue
from detr_hf.data.records import Record
from detr_hf.data.sample import Annotation
from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.images import decode_id_map

MOST_HIDDEN = 0.9


@dataclass(frozen=True)
class Stuff:
    """Machine-made stuff: id map ``int32 [H, W]``, and ``id``, ``category``, ``score`` of its segments."""

    id_map: NDArray[np.int32]
    segments: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Segment:
    """One segment as painted.

    Attributes:
        id: in the id map, 1 to 2^24 - 1.
        category: class name.
        bbox: x, y, width, height in whole pixels, tight around what is visible.
        area: visible pixels.
        pseudo: whether a machine drew it.
        score: the machine's confidence, 0 to 1, where it is known.
    """

    id: int
    category: str
    bbox: tuple[int, int, int, int]
    area: int
    iscrowd: bool = False
    pseudo: bool = False
    score: float | None = None


@dataclass(frozen=True)
class Painted:
    """The id map ``int32 [H, W]`` of a image, its segments in order of id, and what was left out."""

    id_map: NDArray[np.int32]
    segments: list[Segment]
    issues: list[Issue] = field(default_factory=list)


def paint(record: Record, stuff: Stuff | None, most_hidden: float = MOST_HIDDEN) -> Painted:
    """Paint the objects of a record over its stuff.

    An object of which more than ``most_hidden`` (a share of its own pixels) lies under others is left out,
    and what it covered is seen again; a crowd only when nothing is left of it. Ids count from 1: objects in
    the order of the record, then stuff.
    """
    shapes = [_run_lengths(found, record.size_hw) for found in record.objects]
    areas = [int(coco_mask.area(shape)) for shape in shapes]
    issues = [_left_out("no-pixel", record, at) for at, area in enumerate(areas) if area == 0]
    kept = [at for at, area in enumerate(areas) if area > 0]
    kept.sort(key=lambda at: (not record.objects[at].iscrowd, -areas[at], at))
    ground = _ground(record, stuff, len(shapes))
    number_of_ids = len(shapes) + (max((s["id"] for s in stuff.segments), default=0) if stuff else 0) + 1
    id_map = _layered(ground, shapes, kept)
    visible = np.bincount(id_map.ravel(), minlength=number_of_ids)
    hidden = {
        at for at in kept if _is_hidden(record.objects[at], int(visible[at + 1]), areas[at], most_hidden)
    }
    if hidden:
        issues += [
            _left_out("hidden", record, at, f"{visible[at + 1]} of {areas[at]} pixels seen")
            for at in sorted(hidden)
        ]
        id_map = _layered(ground, shapes, [at for at in kept if at not in hidden])
    known = [_Known(at + 1, found.category or "", found.iscrowd) for at, found in enumerate(record.objects)]
    for found in stuff.segments if stuff else ():
        known.append(_Known(len(shapes) + found["id"], found["category"], False, True, found.get("score")))
    return _numbered(record, id_map, known, issues)


def paint_given(record: Record, root: Path) -> Painted:
    """The id map that a record came with, taken as it is; ids without a segment become void.

    Raises:
        UserError: the PNG is missing, damaged, or of another size than the image.
    """
    assert record.id_map is not None
    id_map = decode_id_map(root / record.id_map, record.id_map)
    if id_map.shape != record.size_hw:
        (height, width), (rows, columns) = record.size_hw, id_map.shape
        raise UserError(
            f"{record.id_map}: is {columns} x {rows} pixels, its image {record.file_name} is {width} x "
            f"{height}; prepare the data anew"
        )
    segments = sorted(record.objects, key=lambda found: found.id)
    ids = np.array([found.id for found in segments], np.int64)
    boxes, areas = boxes_and_areas_of_segments(id_map, ids)
    painted = [
        Segment(
            found.id,
            found.category or "",
            _whole(box),
            int(area),
            found.iscrowd,
            pseudo=bool(found.extra.get("pseudo")),
            score=found.score,
        )
        for found, box, area in zip(segments, boxes_xyxy_to_xywh(boxes), areas, strict=True)
        if area
    ]
    return Painted(np.where(np.isin(id_map, ids), id_map, 0), painted)


def _whole(box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    x, y, w, h = (int(value) for value in box)
    return x, y, w, h


@dataclass(frozen=True)
class _Known:
    """What is known of a working id: one of an object or of stuff, before anything is left out."""

    working_id: int
    category: str
    iscrowd: bool
    pseudo: bool = False
    score: float | None = None


def _run_lengths(found: Annotation, size_hw: tuple[int, int]) -> dict[str, Any]:
    """The object as COCO's compressed run lengths."""
    height, width = size_hw
    if isinstance(found.segmentation, dict):
        return found.segmentation
    if found.segmentation:
        return coco_mask.merge(coco_mask.frPyObjects(found.segmentation, height, width))
    x, y, w, h = found.bbox
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    return coco_mask.merge(coco_mask.frPyObjects([corners], height, width))


def _ground(record: Record, stuff: Stuff | None, objects: int) -> NDArray[np.int32]:
    """The stuff under working ids above those of the objects."""
    if stuff is None:
        return np.zeros(record.size_hw, np.int32)
    assert stuff.id_map.shape == record.size_hw, "stuff has the size of its image"
    return np.where(stuff.id_map > 0, stuff.id_map + objects, 0).astype(np.int32)


def _layered(
    ground: NDArray[np.int32], shapes: Sequence[dict[str, Any]], order: Sequence[int]
) -> NDArray[np.int32]:
    id_map = ground.copy()
    for at in order:
        id_map[coco_mask.decode(shapes[at]).view(bool)] = at + 1
    return id_map


def _is_hidden(found: Annotation, visible: int, area: int, most_hidden: float) -> bool:
    return visible == 0 or (not found.iscrowd and 1 - visible / area > most_hidden)


def _left_out(code: str, record: Record, at: int, detail: str = "") -> Issue:
    found = record.objects[at]
    what = f"{found.category}, {found.where}"
    return Issue(code, f"{what}: {detail}" if detail else what, record.file_name)


def _numbered(
    record: Record, id_map: NDArray[np.int32], known: Sequence[_Known], issues: list[Issue]
) -> Painted:
    """Final ids, without gaps, for what can be seen."""
    highest = max((found.working_id for found in known), default=0)
    areas = np.bincount(id_map.ravel(), minlength=highest + 1).tolist()
    places = ndimage.find_objects(id_map, max_label=highest)
    lookup = np.zeros(highest + 1, np.int32)
    segments: list[Segment] = []
    for found in known:
        if (place := places[found.working_id - 1]) is not None:
            number = lookup[found.working_id] = len(segments) + 1
            box, area = _xywh(place), areas[found.working_id]
            segments.append(
                Segment(number, found.category, box, area, found.iscrowd, found.pseudo, found.score)
            )
        elif found.pseudo:
            issues.append(Issue("covered-stuff", found.category, record.file_name))
    return Painted(lookup[id_map], segments, issues)


def _xywh(place: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = place
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
