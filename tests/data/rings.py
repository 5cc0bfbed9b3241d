"""Outlines to compare, wherever a tool begins and whichever way it goes around."""

from __future__ import annotations

from typing import Any

import numpy as np


def ring(points: Any) -> np.ndarray:
    """The points float [P, 2] of a polygon, clockwise from the leftmost of the topmost."""
    found = np.array(points, float).reshape(-1, 2)
    (x, y), (next_x, next_y) = found.T, np.roll(found, -1, axis=0).T
    if (x * next_y - next_x * y).sum() < 0:  # y points down
        found = found[::-1]
    first = np.lexsort(found.round().T)[0]
    return np.roll(found, -first, axis=0)


def ell(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A mask bool [H, W] of an L, and the ring of its outermost pixels, by their whole numbers."""
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    mask = np.zeros(size_hw, bool)
    mask[y0:y1, x0:x1] = True
    mask[y0:y, x:x1] = False
    # The inner corner is cut: outlines go from pixel to pixel across corners, too.
    corners = [(x0, y0), (x - 1, y0), (x - 1, y - 1), (x, y), (x1 - 1, y), (x1 - 1, y1 - 1), (x0, y1 - 1)]
    return mask, ring(corners)
