"""The objects of one picture, mended: outlines, painted masks and rectangles in upright pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.data import outlines
from detr_hf.data.outlines import Points
from detr_hf.data.raw.findings import Finding
from detr_hf.data.raw.mending.frames import Frame
from detr_hf.data.records import RawObject
from detr_hf.data.run_lengths import runs_of_text

TOLERANCE_PX = 0.01  # rounding of exporters, not worth a finding
DIGITS = 3  # of a coordinate that was scaled, turned or clipped


@dataclass
class ObjectMender:
    """Mends the annotations of one picture and remembers what it found.

    Args:
        file: the picture, for findings.
        frame: what its coordinates refer to.
        painted_as_crowd: whether a painted mask (RLE with iscrowd 1) stays a crowd.
    """

    file: str
    frame: Frame
    painted_as_crowd: bool
    findings: list[Finding] = field(default_factory=list)

    def mended(self, annotations: Iterable[dict[str, Any]]) -> list[RawObject]:
        """The objects that are left, in their order."""
        made = [self._mended(entry) for entry in annotations]
        return [found for found in made if found is not None]

    def _note(self, kind: str, entry: dict[str, Any], detail: str = "") -> None:
        where = f"annotation {str(entry['id'])[:50]}"
        self.findings.append(Finding(kind, self.file, f"{where}: {detail}" if detail else where))

    def _mended(self, entry: dict[str, Any]) -> RawObject | None:
        if entry["category"] is None:
            self._note("unknown_category", entry, f"category_id {str(entry['category_id'])[:50]}")
            return None
        shape = entry["segmentation"]
        if isinstance(shape, dict):
            return self._from_mask(entry, shape)
        parts = shape if isinstance(shape, list) else []
        if any(part != [] for part in parts):
            return self._from_outlines(entry, parts)
        return self._from_rectangle(entry)

    # -- outlines

    def _from_outlines(self, entry: dict[str, Any], parts: list[Any]) -> RawObject | None:
        if parts and all(_is_number(value) for value in parts):  # one outline that lacks its outer list
            parts = [parts]
        drawn = [points for part in parts if (points := self._points(entry, part)) is not None]
        if any(outlines.crosses_itself(points) for points in drawn):
            self._note("crossing", entry)
            return self._filled(entry, drawn)
        inside = [part for points in drawn if (part := self._inside(entry, points)) is not None]
        if not inside:
            return None
        polygons = [np.round(points, DIGITS).ravel().tolist() for points in inside]
        return self._object(entry, polygons=polygons)

    def _points(self, entry: dict[str, Any], part: Any) -> Points | None:
        """The points of one outline in upright pixels; None where it is none."""
        if not isinstance(part, list) or len(part) % 2 or not all(_is_coordinate(value) for value in part):
            self._note("bad_numbers", entry)
            return None
        points = outlines.without_repeats(np.array(part, float).reshape(-1, 2))
        if len(points) < 3:
            self._note("few_points", entry, f"{len(points)}")
            return None
        if outlines.area(points) < outlines.NO_AREA and not outlines.crosses_itself(points):
            self._note("no_area", entry)
            return None
        return self.frame.points(points)

    def _inside(self, entry: dict[str, Any], points: Points) -> Points | None:
        height, width = self.frame.upright_hw
        beyond = max(-points.min(), float((points - (width, height)).max()))
        inside = outlines.clipped(points, self.frame.upright_hw)
        if len(inside) < 3 or outlines.area(inside) < outlines.NO_AREA:
            self._note("outside", entry)
            return None
        if beyond > TOLERANCE_PX:
            self._note("clipped", entry, f"by {beyond:.1f} px")
        return inside

    def _filled(self, entry: dict[str, Any], drawn: list[Points]) -> RawObject | None:
        """What crossing outlines enclose, as a mask: a polygon would be filled otherwise by every reader."""
        size_hw = self.frame.upright_hw
        filled = np.zeros(size_hw, bool)
        for points in drawn:
            filled |= outlines.enclosed_pixels(points, size_hw)
        if not filled.any():
            self._note("outside", entry)
            return None
        return self._object(entry, rle=_encoded(filled))

    # -- painted masks

    def _from_mask(self, entry: dict[str, Any], shape: dict[str, Any]) -> RawObject | None:
        mask = _decoded(shape, self.frame.drawn_hw)
        if mask is None:
            self._note("bad_mask", entry)
            return None
        if not mask.any():
            self._note("no_area", entry)
            return None
        if entry["iscrowd"] and not self.painted_as_crowd:
            self._note("painted", entry)
        upright = self.frame.mask(mask)
        return self._object(entry, rle=_encoded(upright), iscrowd=self.painted_as_crowd and _is_crowd(entry))

    # -- rectangles

    def _from_rectangle(self, entry: dict[str, Any]) -> RawObject | None:
        box = entry["bbox"]
        if not box:
            self._note("no_shape", entry)
            return None
        if not isinstance(box, list) or len(box) != 4 or not all(_is_coordinate(value) for value in box):
            self._note("bad_numbers", entry, "in its bbox")
            return None
        x, y, w, h = map(float, box)
        if w <= 0 or h <= 0:
            self._note("no_area", entry, f"bbox {box}")
            return None
        corners = self.frame.points(np.array([[x, y], [x + w, y + h]]))
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        height, width = self.frame.upright_hw
        inside = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
        if inside[2] - inside[0] <= TOLERANCE_PX or inside[3] - inside[1] <= TOLERANCE_PX:
            self._note("outside", entry)
            return None
        beyond = max(-x0, -y0, x1 - width, y1 - height)
        if beyond > TOLERANCE_PX:
            self._note("clipped", entry, f"by {beyond:.1f} px")
        self._note("rectangle", entry)
        bbox = [inside[0], inside[1], inside[2] - inside[0], inside[3] - inside[1]]
        return self._object(entry, bbox=[round(float(value), DIGITS) for value in bbox])

    def _object(self, entry: dict[str, Any], iscrowd: bool | None = None, **shape: Any) -> RawObject:
        number = entry["id"] if type(entry["id"]) is int else 0
        crowd = _is_crowd(entry) if iscrowd is None else iscrowd
        return RawObject(category=entry["category"], source_id=number, iscrowd=crowd, **shape)


def reaches_beyond(annotations: Iterable[dict[str, Any]], size_hw: tuple[int, int], slack_px: float) -> bool:
    """Whether a shape of the annotations has coordinates beyond a picture of this size by more than slack."""
    limit = np.array(size_hw[::-1], float) + slack_px
    for entry in annotations:
        shape = entry.get("segmentation")
        parts: list[Any] = shape if isinstance(shape, list) and shape else [_corner(entry.get("bbox"))]
        for part in parts:
            usable = isinstance(part, list) and part and len(part) % 2 == 0
            if usable and all(map(_is_coordinate, part)):
                points = np.array(part, float).reshape(-1, 2)
                if (points > limit).any():
                    return True
    return False


def _corner(box: Any) -> list[float] | None:
    """The far corner of an xywh box."""
    if not isinstance(box, list) or len(box) != 4 or not all(_is_coordinate(value) for value in box):
        return None
    return [box[0] + box[2], box[1] + box[3]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_coordinate(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and abs(value) < 1e9


def _is_crowd(entry: dict[str, Any]) -> bool:
    return entry["iscrowd"] in (1, True)


def _decoded(shape: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask of COCO's run lengths (column by column, from unset), listed or compressed to text.

    None where they are not of this size or damaged: the decoder in C would write past its memory.
    """
    if shape.get("size") != list(size_hw):
        return None
    counts = shape.get("counts")
    if isinstance(counts, str):
        counts = runs_of_text(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        return None
    height, width = size_hw
    if sum(counts) != height * width:
        return None
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def _encoded(mask: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
