"""The cells of an explanation sheet."""

from __future__ import annotations

import numpy as np

from detr_hf.visualize.explanation import points_over

GRAY = np.full((100, 160, 3), 100, np.uint8)


def test_points_stand_out_and_heavy_ones_more() -> None:
    points = np.array([[40, 30, 1.0], [120, 30, 0.25], [40, 80, 0.0], [-20, 50, 1.0], [500, 500, 0.5]])
    drawn = np.asarray(points_over(GRAY, points.astype(np.float32))).astype(int)
    assert drawn.shape == GRAY.shape and (GRAY == 100).all()
    ground = drawn[50, 80]
    brightness = [drawn[y, x].sum() for x, y in ((40, 30), (120, 30), (40, 80))]
    assert brightness == sorted(brightness, reverse=True) and len(set(brightness)) == 3
    assert brightness[-1] > ground.sum(), "also a point without weight is seen"
    marked = (drawn != ground).any(-1)
    sizes = [marked[:60, :80].sum(), marked[:60, 80:].sum(), marked[60:, :80].sum()]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[2] > 0
    assert not marked[60:, 80:].any(), "points outside the image leave nothing in it"


def test_no_points() -> None:
    drawn = np.asarray(points_over(GRAY, np.zeros((0, 3), np.float32)))
    assert len(np.unique(drawn)) == 1
