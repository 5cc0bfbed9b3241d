"""Outlines as arrays of points: clipping, crossings, and the pixels that an outline encloses.

Points are float64 [N, 2] of x, y in pixels, where the image covers 0..width by 0..height; an outline closes
itself from its last point to the first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NO_AREA = 1e-6
"""Square pixels below which an outline is a line."""


def without_repeats(points: Points) -> Points:
    """Each point differs from the one before it, the first from the last."""
    return points[(points != np.roll(points, 1, axis=0)).any(1)]


def area(points: Points) -> float:
    """Enclosed area in square pixels (shoelace formula); lobes of opposite turn cancel out."""
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def clipped(points: Points, size_hw: tuple[int, int]) -> Points:
    """The part inside the image (Sutherland and Hodgman 1974); empty where nothing is left.

    Of an outline that leaves the image and comes back, the parts stay joined along the edge.
    """
    height, width = size_hw
    for axis, limit, keeps_below in ((0, 0.0, False), (0, width, True), (1, 0.0, False), (1, height, True)):
        if len(points) == 0:
            break
        points = _clipped_at(points, axis, float(limit), keeps_below)
    return without_repeats(points)


def _clipped_at(points: Points, axis: int, limit: float, keeps_below: bool) -> Points:
    values = points[:, axis]
    inside = values <= limit if keeps_below else values >= limit
    if inside.all():
        return points
    following = np.roll(points, -1, axis=0)
    kept: list[Points] = []
    for here, there, is_in, goes_in in zip(points, following, inside, np.roll(inside, -1), strict=True):
        if is_in:
            kept.append(here)
        if is_in != goes_in:
            share = (limit - here[axis]) / (there[axis] - here[axis])
            crossing = here + share * (there - here)
            crossing[axis] = limit
            kept.append(crossing)
    return np.array(kept).reshape(-1, 2)


def crosses_itself(points: Points) -> bool:
    """Whether two edges cross at an inner point of both; touching does not count."""
    start, end = points, np.roll(points, -1, axis=0)
    for at in range(len(points) - 2):
        others = slice(at + 2, len(points) - (at == 0))
        a, b, c, d = start[at], end[at], start[others], end[others]
        apart = _side(a, b, c) * _side(a, b, d) < 0
        if (apart & (_side(c, d, a) * _side(c, d, b) < 0)).any():
            return True
    return False


def _side(start: Points, end: Points, point: Points) -> NDArray[np.float64]:
    """Positive where ``point`` lies to one side of the line, negative to the other, 0 on it."""
    along, to = end - start, point - start
    return np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0])


def enclosed_pixels(points: Points, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool[H, W]: pixels whose center the outline winds around at least once.

    By the non-zero rule, so that where an outline overlaps itself there is no hole, as its author meant it.
    """
    height, width = size_hw
    turns = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high, sign = (y0, y1, 1) if y0 < y1 else (y1, y0, -1)
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
        turns[rows, columns] += sign
    return np.cumsum(turns[:, :width], axis=1) != 0
