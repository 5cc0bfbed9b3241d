"""The objects of one image put right: boxes, outlines and run-length masks in upright pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.data import outlines
from detr_hf.data.boxes import COCO_BOXES, BoxFormat, is_box
from detr_hf.data.frames import Frame
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate, is_int64, is_number
from detr_hf.data.outlines import Points
from detr_hf.data.sample import Annotation
from detr_hf.errors import quantity

TOLERANCE_PX = 0.01  # rounding of exporters, not worth an issue
DIGITS = 3  # of a coordinate that was scaled, turned or clipped
AREA_SLACK = 1.02  # an area may be this much larger than its box, for rounding
DISAGREES_PX, DISAGREES_SHARE = 2.0, 0.05  # a box may differ so much from that of its outline

Box = list[float]
Shape = list[list[float]] | dict[str, Any]
"""Polygons, or compressed run lengths, in upright pixels."""


@dataclass
class ObjectRepair:
    """Puts the annotations of one image right and remembers what it found."""

    file: str  # the image, for issues
    frame: Frame  # what its coordinates refer to
    box_format: BoxFormat  # how its boxes are written
    outlines: bool = True  # put outlines right, too; without, they serve only where a box is none
    issues: list[Issue] = field(default_factory=list)

    def __call__(self, found: Annotation) -> Annotation | None:
        """The object put right; None where it is dropped."""
        if found.category is None:
            self._note("category-unknown", found, f"category {str(found.category_id)[:50]}")
            return None
        given = self._given_box(found)
        box = self._inside(found, given) if given is not None else None
        shape = self._shape(found) if self.outlines or box is None else None
        if box is None:
            box = self._box_of_outline(found, given, shape)
            if box is None:
                return None
        elif shape is not None and not found.iscrowd and _disagree(box, bounds_of(shape)):
            self._note("box-polygon", found, f"box {_short(found.bbox)}")
        area = self._area(found, box, shape)
        number = found.id if is_int64(found.id) else None
        return replace(found, id=number, bbox=box, area=area, segmentation=shape)

    def _note(self, code: str, found: Annotation, detail: str = "") -> None:
        self.issues.append(Issue(code, f"{found.where}: {detail}" if detail else found.where, self.file))

    # -- boxes

    def _given_box(self, found: Annotation) -> Box | None:
        """The box in upright pixels, unclipped; None where the source gives none with a size."""
        if not is_box(found.bbox):
            return None
        x, y, w, h = self.box_format.to_xywh(found.bbox, self.frame.drawn_hw)
        if w <= 0 or h <= 0:
            return None
        if self.frame.is_identity:
            return [x, y, w, h]
        (x0, y0), (x1, y1) = _sorted_corners(self.frame.points(np.array([[x, y], [x + w, y + h]])))
        return [round(float(value), DIGITS) for value in (x0, y0, x1 - x0, y1 - y0)]

    def _inside(self, found: Annotation, box: Box) -> Box | None:
        """The part of an xywh box inside the image; None where nothing is left."""
        x, y, w, h = box
        height, width = self.frame.upright_hw
        x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
        if x1 - x0 <= TOLERANCE_PX or y1 - y0 <= TOLERANCE_PX:
            return None
        if max(x0 - x, y0 - y, x + w - x1, y + h - y1) > TOLERANCE_PX:
            self._note("box-clipped", found, f"{_short(found.bbox)} in {width}x{height}")
        return [x0, y0, x1 - x0, y1 - y0]

    def _box_of_outline(self, found: Annotation, given: Box | None, shape: Shape | None) -> Box | None:
        """The box of the outline where there is no usable one; None where there is neither."""
        bbox = found.bbox
        if shape is not None:
            if bbox is not None and bbox != []:
                self._note("box-from-outline", found, f"box {_short(bbox)}")
            return bounds_of(shape)
        if given is not None:
            height, width = self.frame.upright_hw
            self._note("box-outside", found, f"{_short(bbox)} in {width}x{height}")
        elif is_box(bbox):
            self._note("box-empty", found, _short(bbox))
        elif bbox is not None and bbox != []:
            self._note("box-malformed", found, f"box {_short(bbox)}")
        else:
            self._note("no-shape", found)
        return None

    def _area(self, found: Annotation, box: Box, shape: Shape | None) -> float:
        """Square pixels: as given where that can be true, else of the outline, else of the box."""
        of_box = box[2] * box[3]
        counted = area_of(shape) if shape is not None else of_box
        given = found.area
        if given is None or not self.frame.is_identity or self.box_format != COCO_BOXES:
            return counted
        if is_coordinate(given) and 0 < given <= AREA_SLACK * of_box + 1:
            return float(given)
        was_clipped = self.issues and self.issues[-1].code == "box-clipped"
        if not was_clipped:
            self._note("area-wrong", found, f"area {_short(given)}, the box has {of_box:g}")
        return counted

    # -- outlines

    def _shape(self, found: Annotation) -> Shape | None:
        """The outline put right; None where there is none."""
        shape = found.segmentation
        if isinstance(shape, dict):
            return self._from_runs(found, shape)
        parts = shape if isinstance(shape, list) else []
        if shape is not None and not isinstance(shape, list):
            self._note("outline-invalid", found, f"segmentation is a {type(shape).__name__}")
        if parts and all(is_number(value) for value in parts):  # one outline that lacks its outer list
            parts = [parts]
        drawn = [points for part in parts if part != [] and (points := self._points(found, part)) is not None]
        if any(outlines.crosses_itself(points) for points in drawn):
            self._note("outline-crossing", found)
            return self._filled(found, drawn)
        inside = [part for points in drawn if (part := self._clipped(found, points)) is not None]
        return [np.round(points, DIGITS).ravel().tolist() for points in inside] or None

    def _points(self, found: Annotation, part: Any) -> Points | None:
        """The points of one outline in upright pixels; None where it is none."""
        if not isinstance(part, list) or len(part) % 2 or not all(map(is_coordinate, part)):
            self._note("outline-invalid", found, "no finite coordinates in pairs")
            return None
        points = outlines.without_repeats(np.array(part, float).reshape(-1, 2))
        if len(points) < 3:
            self._note(
                "outline-invalid", found, f"{quantity(len(points), 'point')}, at least three are needed"
            )
            return None
        if outlines.area(points) < outlines.NO_AREA and not outlines.crosses_itself(points):
            self._note("outline-invalid", found, "it has no area")
            return None
        return self.frame.points(points)

    def _clipped(self, found: Annotation, points: Points) -> Points | None:
        height, width = self.frame.upright_hw
        beyond = max(-points.min(), float((points - (width, height)).max()))
        inside = outlines.clipped(points, self.frame.upright_hw)
        if len(inside) < 3 or outlines.area(inside) < outlines.NO_AREA:
            self._note("outline-invalid", found, "it lies outside the image")
            return None
        if beyond > TOLERANCE_PX:
            self._note("outline-clipped", found, f"by {beyond:.1f} px")
        return inside

    def _filled(self, found: Annotation, drawn: list[Points]) -> Shape | None:
        """What crossing outlines enclose, as a mask: a polygon would be filled otherwise by every reader."""
        size_hw = self.frame.upright_hw
        filled = np.zeros(size_hw, bool)
        for points in drawn:
            filled |= outlines.enclosed_pixels(points, size_hw)
        if not filled.any():
            self._note("outline-invalid", found, "it lies outside the image")
            return None
        return encoded_mask(filled)

    def _from_runs(self, found: Annotation, shape: dict[str, Any]) -> Shape | None:
        mask = decoded_mask(shape, self.frame.drawn_hw)
        if mask is None or not mask.any():
            why = "it is empty" if mask is not None else f"size {_short(shape.get('size'))}, or damaged runs"
            self._note("rle-invalid", found, why)
            return None
        return encoded_mask(self.frame.mask(mask))


def bounds_of(shape: Shape) -> Box:
    """The xywh box in pixels of polygons or run lengths."""
    if isinstance(shape, dict):
        return [float(value) for value in coco_mask.toBbox(shape)]
    points = np.concatenate([np.array(part, float).reshape(-1, 2) for part in shape])
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]


def area_of(shape: Shape) -> float:
    """Square pixels of polygons (those that overlap count twice) or run lengths."""
    if isinstance(shape, dict):
        return float(coco_mask.area(shape))
    return sum(outlines.area(np.array(part, float).reshape(-1, 2)) for part in shape)


def decoded_mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask bool [H, W] of COCO's run lengths (column by column, from unset), listed or compressed.

    None where they are not of this size or damaged: the decoder in C would write past its memory.
    """
    if list(shape.get("size") or ()) != list(size_hw):
        return None
    counts = shape.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        counts = runs_of_text(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        return None
    height, width = size_hw
    if sum(counts) != height * width:
        return None
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def runs_of_text(text: str) -> list[int] | None:
    """COCO's compressed counts as runs, five bits a character; None where the text is cut off or no counts.

    From the third run on, the text holds the difference to the run two before (pycocotools, `rleFrString`).
    Decoded here because the library reads past the end of a damaged text.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def encoded_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask bool [H, W]."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def _disagree(box: Box, other: Box) -> bool:
    """Whether two xywh boxes differ by more than rounding and sloppy export explain."""
    slack_x = max(DISAGREES_PX, DISAGREES_SHARE * box[2])
    slack_y = max(DISAGREES_PX, DISAGREES_SHARE * box[3])
    (x, y, w, h), (a, b, c, d) = box, other
    return max(abs(x - a), abs(x + w - a - c)) > slack_x or max(abs(y - b), abs(y + h - b - d)) > slack_y


def _sorted_corners(corners: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return corners.min(0), corners.max(0)


def _short(value: Any) -> str:
    """A foreign value for a message; whole numbers of thousands of digits have no text in Python."""
    if isinstance(value, list | tuple) and value and all(map(is_coordinate, value)):
        return f"[{', '.join(f'{number:.6g}' for number in value)}]"[:80]
    try:
        return str(value)[:80]
    except ValueError:
        return "a number of thousands of digits"
