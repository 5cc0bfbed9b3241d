"""The shapes of CVAT's XML: boxes, polygons, ellipses and painted masks as annotations.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Coordinates are pixels from the left
top corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation
from detr_hf.images import MAX_PIXELS

SHAPES = ("box", "polygon", "ellipse", "mask")
NOT_TAKEN = ("polyline", "points", "cuboid", "skeleton", "tag")
ELLIPSE_POINTS = 64  # a multiple of 4, so that an upright ellipse touches its box
DIGITS = 3  # of coordinates that are computed

Size = Callable[[], tuple[int, int] | None]
"""Gives height and width of the image, where these can be known; asked only where a mask needs them."""


@dataclass
class ShapeReader:
    """Reads the shapes of one image and remembers what it found.

    Args:
        file: the image, for issues.
        labels: the classes that there are.
        size: of the image as annotated.
    """

    file: str
    labels: Collection[str]
    size: Size
    issues: list[Issue] = field(default_factory=list)

    def read(self, shape: Element, number: int, where: str, label: str | None = None) -> Annotation | None:
        """One child of an `<image>` or of a `<track>`, which has the label; None for what is no object."""
        if shape.tag in NOT_TAKEN:
            self.issues.append(Issue("not-taken", f"{where}: a {shape.tag}", self.file))
        if shape.tag not in SHAPES:
            return None
        label = label if label is not None else shape.get("label")
        bbox, segmentation = self._drawn(shape, where)
        return Annotation(
            id=number,
            category=label if label in self.labels else None,
            bbox=bbox,
            segmentation=segmentation,
            where=where,
            category_id=label,
            extra=_extra(shape),
        )

    def _drawn(self, shape: Element, where: str) -> tuple[Any, Any]:
        """Box and outline; what is no number is left for `repair` to judge."""
        if shape.tag == "polygon":
            return None, [_points(shape.get("points", ""))]
        if shape.tag == "mask":
            return self._mask(shape, where)
        if shape.tag == "ellipse":
            values = _numbers(shape, "cx", "cy", "rx", "ry", "rotation")
            return (None, [_ellipse(*values)]) if values else (_texts(shape, "cx", "cy", "rx", "ry"), None)
        values = _numbers(shape, "xtl", "ytl", "xbr", "ybr", "rotation")
        if values is None:
            return _texts(shape, "xtl", "ytl", "xbr", "ybr"), None
        x0, y0, x1, y1, rotation = values
        if rotation % 360 == 0:
            return [x0, y0, x1 - x0, y1 - y0], None
        self.issues.append(Issue("box-rotated", f"{where}: by {rotation:g} degrees", self.file))
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        turned = _turned(corners, np.array([x0 + x1, y0 + y1]) / 2, rotation)
        low, high = turned.min(0), turned.max(0)
        return [*low.round(DIGITS).tolist(), *(high - low).round(DIGITS).tolist()], [_flat(turned)]

    def _mask(self, shape: Element, where: str) -> tuple[Any, Any]:
        """A painted mask as COCO's run lengths; its frame alone where the runs are damaged."""
        frame = _numbers(shape, "left", "top", "width", "height")
        if frame is None:
            return _texts(shape, "left", "top", "width", "height"), None
        size_hw = self.size()
        runs = _runs(shape.get("rle", ""))
        counts = None if size_hw is None or runs is None else coco_counts(runs, frame, size_hw)
        if counts is None or size_hw is None:
            why = "its image has no known size" if size_hw is None else "its runs do not fill its frame"
            self.issues.append(Issue("rle-invalid", f"{where}: {why}", self.file))
            return frame, None
        return None, {"size": list(size_hw), "counts": counts}


def coco_counts(runs: NDArray[np.int64], frame: list[float], size_hw: tuple[int, int]) -> list[int] | None:
    """CVAT's run lengths as COCO's.

    Args:
        runs: lengths row by row within the mask's own frame, beginning with unset pixels.
        frame: left, top, width, height of it in pixels.
        size_hw: of the image; what reaches over its edge is left out.

    Returns:
        lengths column by column within the image, beginning with unset pixels; None where the runs do not
        fill the frame, or the frame is larger than an image may be.
    """
    left, top, width, height = (int(value) for value in frame)
    total = width * height
    # Each run counts at most what an image holds, so that the sum cannot wrap around.
    if width <= 0 or height <= 0 or total > MAX_PIXELS or runs.max(initial=0) > total or runs.sum() != total:
        return None
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    columns, rows = np.nonzero(mask.T)  # column by column
    columns, rows = columns + left, rows + top
    inside = (columns >= 0) & (columns < size_hw[1]) & (rows >= 0) & (rows < size_hw[0])
    places = columns[inside] * size_hw[0] + rows[inside]
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts = places[np.concatenate([[0], breaks + 1])] if len(places) else places
    ends = places[np.concatenate([breaks, [-1]])] + 1 if len(places) else places
    edges = np.stack([starts, ends], 1).ravel()
    return np.diff(np.concatenate([[0], edges, [size_hw[0] * size_hw[1]]])).astype(int).tolist()


def _runs(text: str) -> NDArray[np.int64] | None:
    try:
        runs = np.array([int(word) for word in text.split(",")], np.int64)
    except (ValueError, OverflowError):
        return None
    return None if (runs < 0).any() else runs


def _ellipse(cx: float, cy: float, rx: float, ry: float, rotation: float) -> list[float]:
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    points = np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], 1)
    return _flat(_turned(points, np.array([cx, cy]), rotation))


def _turned(points: NDArray[np.float64], center: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Points [N, 2] turned clockwise, as CVAT shows it: y points down."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - center) @ turn + center


def _flat(points: NDArray[np.float64]) -> list[float]:
    return points.round(DIGITS).ravel().tolist()


def _points(text: str) -> list[Any]:
    """ "x,y;x,y" as x, y, x, y; words that are no numbers stay words."""
    words = [word.strip() for pair in text.split(";") for word in pair.split(",")]
    return [value if (value := _number(word)) is not None else word for word in words]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _numbers(shape: Element, *names: str) -> list[float] | None:
    """Attributes as finite numbers; a missing rotation is none."""
    found = [_number(shape.get(name, "0" if name == "rotation" else None)) for name in names]
    values = [value for value in found if value is not None and abs(value) < 1e9]
    return values if len(values) == len(names) else None


def _texts(shape: Element, *names: str) -> list[str | None]:
    return [shape.get(name) for name in names]


def _extra(shape: Element) -> dict[str, Any]:
    """What CVAT says besides: attributes by name, and whether the object is partly hidden."""
    extra: dict[str, Any] = {
        name: shape.get(name) for name in ("z_order", "group_id", "source", "rotation") if shape.get(name)
    }
    if shape.get("occluded") is not None:
        extra["occluded"] = shape.get("occluded") == "1"
    attributes = {one.get("name", ""): one.text or "" for one in shape.iter("attribute")}
    return extra | ({"attributes": attributes} if attributes else {})
