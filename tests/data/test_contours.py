"""Lines around masks: filled again they are the same pixels, joined they enclose as much."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detr_hf.data.contours import contours, drawn_outline, joined
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


def test_an_outline_for_people_has_few_points_and_almost_the_same_pixels() -> None:
    y, x = np.mgrid[:80, :120]
    ring = (y - 40) ** 2 + (x - 60) ** 2
    mask = (ring < 36**2) & (ring > 15**2)
    line, edges = drawn_outline(mask), joined(contours(mask))
    filled = enclosed_pixels(line, mask.shape)
    assert len(line) < len(edges) / 4
    assert (filled & mask).sum() / (filled | mask).sum() > 0.96
    assert not filled[40, 60], "the hole is one"


@pytest.mark.parametrize("seed", range(8))
def test_small_parts_of_an_outline_for_people_stay(seed: int) -> None:
    mask = random_mask(seed)
    filled = enclosed_pixels(drawn_outline(mask), SIZE_HW)
    for part in contours(mask):
        if area(part) <= 4:
            inside = enclosed_pixels(part, SIZE_HW)
            np.testing.assert_array_equal(filled & inside, mask & inside)


def test_a_single_pixel_is_a_square() -> None:
    mask = mask_of("...", ".#.", "...")
    assert sorted(map(tuple, drawn_outline(mask))) == [(1, 1), (1, 2), (2, 1), (2, 2)]
