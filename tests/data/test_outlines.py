"""Outlines: clipping, crossings and what they enclose, on figures small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.data import outlines

SQUARE = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])
BOW_TIE = np.array([[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]])


def test_repeated_points_go_also_across_the_end() -> None:
    doubled = SQUARE[[0, 0, 1, 2, 2, 3, 0]]
    assert sorted(map(tuple, outlines.without_repeats(doubled))) == sorted(map(tuple, SQUARE))


def test_area_is_that_of_the_figure() -> None:
    assert outlines.area(SQUARE) == 12
    assert outlines.area(SQUARE[::-1]) == 12
    assert outlines.area(SQUARE[[0, 1, 2]]) == 6


def test_clipping_keeps_the_part_inside() -> None:
    moved = SQUARE - (4, 2)  # from -2 to 2 across, from -1 to 2 down
    inside = outlines.clipped(moved, (10, 10))
    assert outlines.area(inside) == 4
    assert inside.min() == 0 and inside.max() == 2


def test_clipping_at_the_far_edges() -> None:
    assert outlines.area(outlines.clipped(SQUARE, (3, 5))) == pytest.approx(3 * 2)


def test_an_outline_inside_stays_as_it_is() -> None:
    assert np.array_equal(outlines.clipped(SQUARE, (4, 6)), SQUARE)


def test_nothing_is_left_of_an_outline_outside() -> None:
    assert len(outlines.clipped(SQUARE + 100, (10, 10))) == 0


def test_clipping_a_triangle_at_a_corner_point() -> None:
    """(-2, 0), (2, 0), (2, 4): at x = 0 the slanted edge is at y = 2; a trapezoid of (2 + 4) / 2 * 2."""
    triangle = np.array([[-2.0, 0.0], [2.0, 0.0], [2.0, 4.0]])
    assert outlines.area(outlines.clipped(triangle, (10, 10))) == pytest.approx(6)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (SQUARE, False),
        (BOW_TIE, True),
        (np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 0.0], [2.0, 3.0]]), False),  # an edge that runs back
        (np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 0.0], [0.0, 4.0]]), False),  # touches an edge
        (np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 2.0], [2.0, 2.0], [2.0, -1.0], [0.0, -1.0]]), True),
        (SQUARE[:3], False),
    ],
)
def test_crossings(points: np.ndarray, expected: bool) -> None:
    assert outlines.crosses_itself(points) is expected
    assert outlines.crosses_itself(points[::-1]) is expected
    assert outlines.crosses_itself(np.roll(points, 2, axis=0)) is expected


def test_enclosed_pixels_of_a_square() -> None:
    filled = outlines.enclosed_pixels(SQUARE, (6, 8))
    assert filled.sum() == 12 and filled[1:4, 2:6].all()


def test_enclosed_pixels_are_cut_at_the_picture() -> None:
    filled = outlines.enclosed_pixels(SQUARE - (4, 2), (6, 8))
    assert filled.sum() == 4 and filled[:2, :2].all()


def test_both_lobes_of_a_bow_tie_are_filled() -> None:
    filled = outlines.enclosed_pixels(BOW_TIE, (4, 4))
    assert filled[:, 0].sum() >= 1 and filled[:, 3].sum() >= 1
    assert np.array_equal(filled, filled[::-1]) and filled.sum() in range(6, 13)


def test_an_overlap_with_itself_is_no_hole() -> None:
    """A square walked round twice: by the even-odd rule it would be empty."""
    filled = outlines.enclosed_pixels(np.vstack([SQUARE, SQUARE + np.array([1, 0])]), (6, 8))
    assert filled[1:4, 2:6].all()
