"""What tiles of a picture share, and which finds of different tiles are one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SAME = 0.5
"""Two finds that agree in their tiles' overlap by this IoU are one object."""

OTHER_CLASS = 0.7
"""What the IoU of two things of different classes counts: a piece of one is easily taken for another."""

AT_EDGE = 0.02
"""Nearer to a tile's inner edge than this share of its side, a box counts as cut."""

Window = tuple[int, int, int, int]
"""Left, top, right and bottom of a tile in pixels of the picture, the last two exclusive."""


def overlaps(windows: Sequence[Window]) -> Iterator[tuple[int, int, Window]]:
    """Each pair of tiles that share pixels, with what they share."""
    for a, first in enumerate(windows):
        for b, second in enumerate(windows[a + 1 :], a + 1):
            left, top = max(first[0], second[0]), max(first[1], second[1])
            right, bottom = min(first[2], second[2]), min(first[3], second[3])
            if left < right and top < bottom:
                yield a, b, (left, top, right, bottom)


def is_cut(boxes: NDArray[np.float32], window: Window, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes ``[N, 4]`` of a tile reach an edge of it that is no edge of the picture."""
    left, top, right, bottom = window
    margin = np.array([right - left, bottom - top] * 2) * AT_EDGE
    inner = np.array([left > 0, top > 0, right < size_hw[1], bottom < size_hw[0]])
    near = np.abs(boxes - np.array(window)) <= margin
    return (near & inner).any(1)


def matched(
    iou: NDArray[np.float32],
    classes: tuple[NDArray[np.int64], NDArray[np.int64]],
    things: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> list[tuple[int, int]]:
    """One-to-one pairs of rows and columns that are one object.

    Args:
        iou: ``[N, M]`` of the finds of two tiles, in what both tiles see.
        classes: ids of the rows' and of the columns' classes.
        things: which rows and columns are things.
    """
    same = classes[0][:, None] == classes[1][None, :]
    both = things[0][:, None] & things[1][None, :]
    agreement = iou * np.where(same, 1, np.where(both, OTHER_CLASS, 0))
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    return [
        (row, column) for row, column in zip(rows, columns, strict=True) if agreement[row, column] >= SAME
    ]


def groups(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    """For each of ``count`` finds the number of the object that it is, given pairs that are one."""
    if count == 0:
        return np.zeros(0, np.int32)
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
