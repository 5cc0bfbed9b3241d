"""The shapes of one labelme file as objects.

Format: https://github.com/wkentaro/labelme (``labelme/_label_file.py``). Points are pixels of the upright
image. X-AnyLabeling's files are the same with a few values more.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate
from detr_hf.data.repair_objects import encoded_mask
from detr_hf.data.sample import Annotation
from detr_hf.errors import UserError
from detr_hf.images import MAX_PIXELS, decode_image

VOID_LABELS = ("__ignore__", "_background_")
OUTLINES = ("polygon", "oriented_rectangle", "rotation")
ROTATED = ("oriented_rectangle", "rotation")  # labelme's and X-AnyLabeling's
SHAPES = (*OUTLINES, "rectangle", "circle", "mask")
CIRCLE_POINTS = 64  # a multiple of 4, so that the outline touches its box
DIGITS = 3  # of coordinates that are computed
STRAIGHT_PX = 0.01

Size = Callable[[], tuple[int, int] | None]
"""Gives height and width of the image, where these can be known; asked only where a mask needs them."""


@dataclass
class ShapeReader:
    """Reads the shapes of one image and remembers what it found.

    Args:
        file: the image, for issues.
        size: of the image as annotated.
    """

    file: str
    size: Size
    issues: list[Issue] = field(default_factory=list)

    def read(self, shapes: list[Any]) -> list[Annotation]:
        """The objects; shapes of one label and one ``group_id`` are parts of the same."""
        made: list[Annotation] = []
        place_of: dict[tuple[Any, ...], int] = {}
        for number, shape in enumerate(shapes, start=1):
            found = self._object(shape, number)
            if found is None:
                continue
            group = found.extra.get("group_id")
            key = (found.category, type(group), str(group))
            if group is None or not (found.bbox is None or _is_box(found.bbox)):
                made.append(found)
            elif key in place_of:
                made[place_of[key]] = self._joined(made[place_of[key]], found)
            else:
                place_of[key] = len(made)
                made.append(found)
        return made

    def _note(self, code: str, text: str) -> None:
        self.issues.append(Issue(code, text, self.file))

    def _object(self, shape: Any, number: int) -> Annotation | None:
        where = f"shape {number}"
        if not isinstance(shape, dict):
            self._note("entry-invalid", f"{where}: is a {type(shape).__name__}")
            return None
        kind, label = kind_of(shape), shape.get("label")
        if kind is None:
            self._note("not-taken", f"{where}: a {str(shape.get('shape_type'))[:50]}")
            return None
        if label in VOID_LABELS:
            self._note("class-void", f"{where}: {label}")
            return None
        if is_coordinate(label):
            self._note("odd-type", f"{where}: label {label} is no text")
        bbox, segmentation = self._drawn(shape, kind, where)
        score = shape.get("score")
        return Annotation(
            id=number,
            category=class_name(label),
            bbox=bbox,
            segmentation=segmentation,
            iscrowd=shape.get("difficult") is True,  # X-AnyLabeling's, in the sense of Pascal VOC
            where=where,
            category_id=label,
            score=float(score) if is_coordinate(score) and 0 <= score <= 1 else None,
            extra={
                name: shape[name]
                for name in ("group_id", "flags", "description", "attributes")
                if shape.get(name) not in (None, {}, "")
            },
        )

    def _drawn(self, shape: dict[str, Any], kind: str, where: str) -> tuple[Any, Any]:
        """Box and outline; what is no number is left for `repair` to judge."""
        points = shape.get("points")
        flat = _flat(points)
        if kind in ROTATED:
            self._note("box-rotated", where)
        if kind in OUTLINES:
            return None, [flat]
        if (
            len(flat) not in (4, 8)
            or not all(map(is_coordinate, flat))
            or (kind != "rectangle" and len(flat) == 8)
        ):
            return flat, None
        if kind == "rectangle":
            return self._rectangle(flat, where)
        x0, y0, x1, y1 = flat
        if kind == "circle":  # its center, and a point on it
            radius = math.hypot(x1 - x0, y1 - y0)
            angles = np.arange(CIRCLE_POINTS) * (2 * math.pi / CIRCLE_POINTS)
            around = np.stack([x0 + radius * np.cos(angles), y0 + radius * np.sin(angles)], axis=1)
            return [x0 - radius, y0 - radius, 2 * radius, 2 * radius], [around.round(DIGITS).ravel().tolist()]
        mask = self._mask(shape, (int(x0), int(y0)), where)
        # Of a mask, the second point is the last pixel inside.
        return (None, mask) if mask is not None else ([x0, y0, x1 - x0 + 1, y1 - y0 + 1], None)

    def _rectangle(self, flat: list[Any], where: str) -> tuple[Any, Any]:
        """Two corners in any order, or all four, which may be turned."""
        xs, ys = flat[0::2], flat[1::2]
        x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
        off = [
            min(abs(x - x0), abs(x - x1)) + min(abs(y - y0), abs(y - y1)) for x, y in zip(xs, ys, strict=True)
        ]
        if max(off) > STRAIGHT_PX:
            self._note("box-rotated", where)
            return None, [flat]
        return [x0, y0, x1 - x0, y1 - y0], None

    def _mask(self, shape: dict[str, Any], left_top: tuple[int, int], where: str) -> dict[str, Any] | None:
        """A PNG of the mask's own frame as COCO's run lengths in the image; None where it cannot be used."""
        size_hw = self.size()
        if size_hw is None or size_hw[0] * size_hw[1] > MAX_PIXELS:
            self._note("outline-invalid", f"{where}: a mask in an image of unknown size")
            return None
        try:
            inner = np.any(decode_image(decoded_base64(shape.get("mask")), "its PNG") > 0, axis=2)
        except UserError as error:
            self._note("outline-invalid", f"{where}: {error}")
            return None
        mask = np.zeros(size_hw, bool)
        x, y = left_top
        rows, columns = np.arange(inner.shape[0]), np.arange(inner.shape[1])
        rows = rows[(rows + y >= 0) & (rows + y < size_hw[0])]
        columns = columns[(columns + x >= 0) & (columns + x < size_hw[1])]
        mask[np.ix_(rows + y, columns + x)] = inner[np.ix_(rows, columns)]
        return encoded_mask(mask)

    def _joined(self, first: Annotation, second: Annotation) -> Annotation:
        """One object of two parts."""
        shapes = [_shape_of(one) for one in (first, second)]
        if any(isinstance(shape, dict) for shape in shapes):
            return _with_shape(first, self._joined_masks(shapes))
        return _with_shape(first, [part for shape in shapes for part in shape])

    def _joined_masks(self, shapes: list[Any]) -> dict[str, Any]:
        size_hw = next(shape["size"] for shape in shapes if isinstance(shape, dict))
        runs: list[Any] = [shape for shape in shapes if isinstance(shape, dict)]
        for part in (part for shape in shapes if isinstance(shape, list) for part in shape):
            if len(part) >= 6 and len(part) % 2 == 0 and all(map(is_coordinate, part)):
                runs += coco_mask.frPyObjects([part], *size_hw)
        joined = coco_mask.merge(runs)
        return {"size": list(size_hw), "counts": joined["counts"].decode("ascii")}


def kind_of(shape: Any) -> str | None:
    """What a shape is, where it is read as an object; early versions have polygons alone, unnamed."""
    kind = (shape.get("shape_type") or "polygon") if isinstance(shape, dict) else None
    return kind if kind in SHAPES else None


def class_name(label: Any) -> str | None:
    """The class of a label; None where it has none, or stands for void."""
    if label in VOID_LABELS or not (isinstance(label, str) or is_coordinate(label)):
        return None
    return str(label).strip() or None


def decoded_base64(text: Any) -> bytes:
    """Raises:
    UserError: it is no base64.
    """
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=False)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"no base64 ({error})") from None


def _shape_of(found: Annotation) -> Any:
    if found.segmentation is not None:
        return found.segmentation
    x, y, w, h = found.bbox
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _with_shape(found: Annotation, shape: Any) -> Annotation:
    return replace(found, bbox=None, segmentation=shape)


def _flat(points: Any) -> list[Any]:
    """Pairs of coordinates one after the other; what is none stays for `repair` to tell."""
    if not isinstance(points, list):
        return [points]
    return [value for point in points for value in (point if isinstance(point, list) else [point])]


def _is_box(bbox: Any) -> bool:
    return len(bbox) == 4 and all(map(is_coordinate, bbox))
