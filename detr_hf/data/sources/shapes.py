"""What doors draw: outlines of ellipses and rotated boxes, and masks that have a frame of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

ELLIPSE_POINTS = 64  # a multiple of 4, so that an upright ellipse touches its box
DIGITS = 3  # of coordinates that are computed


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> list[float]:
    """The outline [x0, y0, x1, y1, ...] in pixels of an ellipse, turned clockwise as it is shown."""
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    return _turned(np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], 1), (cx, cy), degrees)


def rotated_box(
    x: float, y: float, w: float, h: float, degrees: float, pivot: tuple[float, float]
) -> list[float]:
    """The outline of a box that is turned around a point, clockwise as it is shown."""
    return _turned(np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]), pivot, degrees)


def _turned(points: NDArray[np.float64], pivot: tuple[float, float], degrees: float) -> list[float]:
    angle = math.radians(degrees)  # y points down, so that this is clockwise
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return ((points - pivot) @ turn + pivot).round(DIGITS).ravel().tolist()


def placed_mask(inner: NDArray[np.bool_], left: int, top: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask bool [h, w] that lies at ``left``, ``top`` of an image.

    The time and memory are those of the mask, not of the image; what reaches over its edge is left out.
    """
    height, width = size_hw
    columns, rows = np.nonzero(inner.T)  # column by column, as COCO counts
    columns, rows = columns + left, rows + top
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    places = columns[inside] * height + rows[inside]
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts, ends = np.append(places[:1], places[breaks + 1]), np.append(places[breaks], places[-1:]) + 1
    edges = np.stack([starts, ends], 1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]])).astype(int).tolist()
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def flat_points(points: Any) -> list[Any]:
    """Pairs of coordinates one after the other; what is none stays for `repair` to tell."""
    pairs = points if isinstance(points, list) else [points]
    return [value for point in pairs for value in (point if isinstance(point, list) else [point])]
