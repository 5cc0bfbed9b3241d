"""The measure of one image, and the order it gives."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.metrics.pq_counts import ClassCounts
from detr_hf.report.quality import qualities, worst_and_best
from tests.report.report_factories import image_boxes

BOXES = PerImageResults(
    [
        ImageEntry(1, 0, image_boxes([(0, 0, 0.9), (1, 0, 0.9)], [(0, 0), (2, 0)])),  # one of each
        ImageEntry(2, 0, image_boxes([(0, 0, 0.9), (1, 1, 0.2)], [(0, 0)])),
        ImageEntry(3, 0, image_boxes([], [])),
        ImageEntry(4, 0, image_boxes([(0, 1, 0.9)], [])),
        ImageEntry(5, 0, image_boxes([], [(0, 0), (1, 0)])),
    ]
)


def test_boxes_by_hand() -> None:
    ranked = qualities(BOXES, 0.5)
    assert [(one.image_id, one.quality) for one in ranked] == [
        (5, 0.0),  # two mistakes before one
        (4, 0.0),
        (1, pytest.approx(0.5)),
        (2, pytest.approx(1.0)),
        (3, None),
    ]
    first = ranked[2]
    assert (first.matched, first.false, first.missed) == (1, 1, 1)


def test_segments_are_pooled_over_classes() -> None:
    counts = ClassCounts(np.array([0, 2]), np.array([[2, 1, 0], [1, 0, 0]]), np.array([1.6, 0.9]))
    results = PerImageResults(BOXES.boxes, [ImageEntry(9, 0, counts)])
    (only,) = qualities(results, 0.5)
    assert only.quality == pytest.approx(2.5 / 3.5) and (only.matched, only.false, only.missed) == (3, 1, 0)


def test_no_image_is_among_the_best_and_the_worst() -> None:
    ranked = qualities(BOXES, 0.5)
    worst, best = worst_and_best(ranked, 6)
    assert [one.image_id for one in worst] == [5, 4] and [one.image_id for one in best] == [2, 1]
    worst, best = worst_and_best(ranked, 1)
    assert [one.image_id for one in (*worst, *best)] == [5, 2]
    assert worst_and_best([], 3) == ([], [])
