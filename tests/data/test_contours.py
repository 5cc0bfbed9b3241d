"""Lines around masks: filled again they are the same pixels, joined they enclose as much."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detr_hf.data.contours import contours, joined
from detr_hf.data.outlines import area, enclosed_pixels

SIZE_HW = (20, 30)


def mask_of(*rows: str) -> NDArray[np.bool_]:
    return np.array([[sign == "#" for sign in row] for row in rows])


def random_mask(seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SIZE_HW, bool)
    for _ in range(6):
        top, left = rng.integers(0, SIZE_HW[0]), rng.integers(0, SIZE_HW[1])
        mask[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)] ^= True
    return mask


def test_a_rectangle_has_its_four_corners() -> None:
    mask = np.zeros(SIZE_HW, bool)
    mask[2:5, 3:7] = True
    (line,) = contours(mask)
    assert {tuple(point) for point in line.tolist()} == {(3, 2), (7, 2), (7, 5), (3, 5)}
    assert len(line) == 4


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    (line,) = contours(mask_of("##..", "##..", "..##"))
    assert area(line) == 6


def test_a_hole_is_a_line_that_turns_the_other_way() -> None:
    outer, hole = contours(mask_of("####", "#..#", "####"))
    x, y = hole.T
    turned = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
    x, y = outer.T
    assert turned * (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) < 0
    assert area(joined([outer, hole])) == 10


def test_an_empty_mask_has_none() -> None:
    assert contours(np.zeros(SIZE_HW, bool)) == []


@pytest.mark.parametrize("seed", range(30))
def test_filled_again_it_is_the_same_mask(seed: int) -> None:
    mask = random_mask(seed)
    line = joined(contours(mask))
    assert (enclosed_pixels(line, SIZE_HW) == mask).all()
    x, y = line.T
    assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 == mask.sum()


def test_parts_are_joined_at_their_nearest_points() -> None:
    first = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    line = joined([first, first + np.array([6, 1])])
    steps = np.abs(np.diff(np.vstack([line, line[:1]]), axis=0))
    assert steps.sum(1).max() == 4 and area(line) == 32
