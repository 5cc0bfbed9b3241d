"""Objects and stuff of one picture to one id map, in which no two overlap.

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

from detr_hf.data.raw.findings import Finding
from detr_hf.data.records import RawObject, Record
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside
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
    """The id map ``int32 [H, W]`` of a picture, its segments in order of id, and what was left out."""

    id_map: NDArray[np.int32]
    segments: list[Segment]
    findings: list[Finding] = field(default_factory=list)


def paint(record: Record, stuff: Stuff | None, most_hidden: float = MOST_HIDDEN) -> Painted:
    """Paint the objects of a record over its stuff.

    An object of which more than ``most_hidden`` (a share of its own pixels) lies under others is left out,
    and what it covered is seen again; a crowd only when nothing is left of it. Ids count from 1: objects in
    the order of the record, then stuff.
    """
    shapes = [_run_lengths(found, record.size_hw) for found in record.objects]
    areas = [int(coco_mask.area(shape)) for shape in shapes]
    findings = [_left_out("no_pixel", record, at) for at, area in enumerate(areas) if area == 0]
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
        findings += [
            _left_out("hidden", record, at, f"{visible[at + 1]} of {areas[at]} pixels seen")
            for at in sorted(hidden)
        ]
        id_map = _layered(ground, shapes, [at for at in kept if at not in hidden])
    known = [_Known(at + 1, found.category, found.iscrowd) for at, found in enumerate(record.objects)]
    for found in stuff.segments if stuff else ():
        known.append(_Known(len(shapes) + found["id"], found["category"], False, True, found.get("score")))
    return _numbered(record, id_map, known, findings)


def paint_given(record: Record, raw: Path) -> Painted:
    """The id map that a record came with, taken as it is; ids without a segment become void.

    Its stuff counts as machine-made, as it is in that layout.

    Raises:
        UserError: the PNG is missing, damaged, or of another size than the picture.
    """
    assert record.panoptic is not None
    id_map = decode_id_map(inside(raw, record.panoptic.png), record.panoptic.png)
    if id_map.shape != record.size_hw:
        raise UserError(
            f"{record.panoptic.png}: is {id_map.shape[1]} x {id_map.shape[0]} pixels, its picture "
            f"{record.file} is {record.width} x {record.height}; export both at one size"
        )
    segments = sorted(record.panoptic.segments, key=lambda found: found.id)
    ids = np.array([found.id for found in segments], np.int64)
    boxes, areas = boxes_and_areas_of_segments(id_map, ids)
    painted = [
        Segment(found.id, found.category, _whole(box), int(area), found.iscrowd, pseudo=not found.isthing)
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


def _run_lengths(found: RawObject, size_hw: tuple[int, int]) -> dict[str, Any]:
    """The object as COCO's compressed run lengths."""
    height, width = size_hw
    if found.rle is not None:
        return found.rle
    if found.polygons is not None:
        return coco_mask.merge(coco_mask.frPyObjects(found.polygons, height, width))
    assert found.bbox is not None, "a record gives one of polygons, rle and bbox"
    x, y, w, h = found.bbox
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    return coco_mask.merge(coco_mask.frPyObjects([corners], height, width))


def _ground(record: Record, stuff: Stuff | None, objects: int) -> NDArray[np.int32]:
    """The stuff under working ids above those of the objects."""
    if stuff is None:
        return np.zeros(record.size_hw, np.int32)
    assert stuff.id_map.shape == record.size_hw, "stuff has the size of its picture"
    return np.where(stuff.id_map > 0, stuff.id_map + objects, 0).astype(np.int32)


def _layered(
    ground: NDArray[np.int32], shapes: Sequence[dict[str, Any]], order: Sequence[int]
) -> NDArray[np.int32]:
    id_map = ground.copy()
    for at in order:
        id_map[coco_mask.decode(shapes[at]).view(bool)] = at + 1
    return id_map


def _is_hidden(found: RawObject, visible: int, area: int, most_hidden: float) -> bool:
    return visible == 0 or (not found.iscrowd and 1 - visible / area > most_hidden)


def _left_out(kind: str, record: Record, at: int, detail: str = "") -> Finding:
    found = record.objects[at]
    what = f"{found.category}, annotation {found.source_id}"
    return Finding(kind, record.file, f"{what}: {detail}" if detail else what)


def _numbered(
    record: Record, id_map: NDArray[np.int32], known: Sequence[_Known], findings: list[Finding]
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
            findings.append(Finding("covered_stuff", record.file, found.category))
    return Painted(lookup[id_map], segments, findings)


def _xywh(place: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = place
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
