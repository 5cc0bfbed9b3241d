"""Objects and stuff of one image to one id map, in which no two overlap.

What lies over what: pseudo-labeled stuff at the bottom, then crowds, then objects, the larger below the
smaller. Polygons cover the pixels that pycocotools says they cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError, quantity
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.images import decode_id_map

IdMap = NDArray[np.int32]

MOST_HIDDEN = 0.9


@dataclass(frozen=True)
class Stuff:
    """Machine-made stuff: id map ``int32 [H, W]``, and ``id``, ``category``, ``score`` of its segments."""

    id_map: IdMap
    segments: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Painted:
    """An id map ``int32 [H, W]`` and what is in it."""

    id_map: IdMap
    # with box and area in whole pixels of what is visible; those that a machine drew have ``extra["pseudo"]``
    objects: list[Annotation]
    issues: list[Issue] = field(default_factory=list)  # what was left out
    is_changed: bool = True  # whether it is another id map than the sample came with


def paint(sample: Sample, stuff: Stuff | None = None, most_hidden: float = MOST_HIDDEN) -> Painted:
    """Paint the objects of a repaired sample over stuff; an id map that it has is taken as it is.

    An object of which more than ``most_hidden`` (a share of its own pixels) lies under others is left out,
    and what it covered is seen again; a crowd only when nothing is left of it. Ids count from 1: objects in
    the order of the sample, then stuff.

    Raises:
        UserError: the sample's id map is missing, damaged, or of another size than the image.
    """
    assert sample.size_hw is not None, "the sample has been repaired"
    if sample.id_map is not None:
        return _given(sample)
    objects = sample.objects
    shapes = [_run_lengths(found, sample.size_hw) for found in objects]
    areas = [int(coco_mask.area(shape)) for shape in shapes]
    issues = [_left_out("no-pixel", sample, at) for at, area in enumerate(areas) if area == 0]
    kept = [at for at, area in enumerate(areas) if area > 0]
    kept.sort(key=lambda at: (not objects[at].iscrowd, -areas[at], at))
    ground = np.zeros(sample.size_hw, np.int32)
    if stuff is not None:
        ground = np.where(stuff.id_map > 0, stuff.id_map + len(shapes), 0).astype(np.int32)
    id_map = _layered(ground, shapes, kept)
    visible = np.bincount(id_map.ravel(), minlength=len(shapes) + 1)
    hidden = {at for at in kept if _is_hidden(objects[at], int(visible[at + 1]), areas[at], most_hidden)}
    if hidden:
        issues += [
            _left_out("hidden", sample, at, f"{visible[at + 1]} of {quantity(areas[at], 'pixel')} seen")
            for at in sorted(hidden)
        ]
        id_map = _layered(ground, shapes, [at for at in kept if at not in hidden])
    known = [replace(found, id=at) for at, found in enumerate(objects, start=1)]
    for found in stuff.segments if stuff else ():
        drawn = Annotation(len(shapes) + found["id"], found["category"], score=found.get("score"))
        known.append(replace(drawn, extra={"pseudo": True}))
    seen = counted(known, id_map)
    ids = {one.id for one in seen}
    covered = [one for one in known[len(objects) :] if one.id not in ids]
    issues += [Issue("covered-stuff", one.category or "", sample.file_name) for one in covered]
    lookup = np.zeros(max([one.id for one in known], default=0) + 1, np.int32)
    lookup[[one.id for one in seen]] = range(1, len(seen) + 1)  # ids without gaps
    return Painted(lookup[id_map], [replace(one, id=int(lookup[one.id])) for one in seen], issues)


def counted(objects: Sequence[Annotation], id_map: IdMap) -> list[Annotation]:
    """Those that have a pixel, with box and area of what is visible, in whole pixels."""
    boxes, areas = boxes_and_areas_of_segments(id_map, np.array([one.id for one in objects], np.int64))
    found = zip(objects, boxes_xyxy_to_xywh(boxes).astype(int).tolist(), areas.tolist(), strict=True)
    return [replace(one, bbox=box, area=area, segmentation=None) for one, box, area in found if area]


def _given(sample: Sample) -> Painted:
    """Ids without a segment become void."""
    id_map = decode_id_map(id_map_bytes(sample), f"PNG of {sample.file_name}")
    if id_map.shape != sample.size_hw:
        raise UserError(f"{sample.file_name}: its PNG is of another size; prepare the data again")
    objects = counted(sample.objects, id_map)
    kept = np.where(np.isin(id_map, [one.id for one in objects]), id_map, 0)
    return Painted(kept, objects, is_changed=bool((kept != id_map).any()))


def _run_lengths(found: Annotation, size_hw: tuple[int, int]) -> dict[str, Any]:
    """The object as COCO's compressed run lengths."""
    if isinstance(found.segmentation, dict):
        return found.segmentation
    x, y, w, h = found.bbox
    outline = found.segmentation or [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return coco_mask.merge(coco_mask.frPyObjects(outline, *size_hw))


def _layered(ground: IdMap, shapes: Sequence[dict[str, Any]], order: Sequence[int]) -> IdMap:
    id_map = ground.copy()
    for at in order:
        id_map[coco_mask.decode(shapes[at]).view(bool)] = at + 1
    return id_map


def _is_hidden(found: Annotation, visible: int, area: int, most_hidden: float) -> bool:
    return visible == 0 or (not found.iscrowd and 1 - visible / area > most_hidden)


def _left_out(code: str, sample: Sample, at: int, detail: str = "") -> Issue:
    what = f"{sample.objects[at].category}, {sample.objects[at].where}"
    return Issue(code, f"{what}: {detail}" if detail else what, sample.file_name)
