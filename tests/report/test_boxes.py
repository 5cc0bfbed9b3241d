"""Curves and tables of boxes against the numbers that the metric gives."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.labels import LabelMap
from detr_hf.metrics.coco_ap import CocoAP
from detr_hf.metrics.entries import ImageEntry
from detr_hf.report.boxes import box_numbers
from tests.report.report_factories import image_boxes, random_entries

LABELS = LabelMap.from_names(["a", "b", "c"])


@pytest.mark.parametrize("seed", range(3))
def test_curves_and_sizes_average_to_the_results(seed: int) -> None:
    entries = random_entries(seed)
    metric = CocoAP(LABELS)
    metric.load_states([entries])
    results = metric.compute()
    numbers = box_numbers(entries, LABELS, 0.5)
    curves = numbers["precision_recall"]
    assert (numbers["AP"], numbers["AR"]) == (results["AP"], results["AR"])
    assert np.mean(curves["IoU 0.50"]) == pytest.approx(results["AP50"], abs=1e-4)
    assert np.mean(curves["IoU 0.75"]) == pytest.approx(results["AP75"], abs=1e-4)
    assert np.mean(curves["IoU 0.50 to 0.95"]) == pytest.approx(results["AP"], abs=1e-4)
    for name, row in results["per_class"].items():
        assert np.mean(curves["classes"][name]) == pytest.approx(row["AP50"], abs=1e-4)
    assert [row["AP"] for row in numbers["sizes"]] == [
        results[f"AP_{size}"] for size in ("small", "medium", "large")
    ]
    assert sum(row["objects"] for row in numbers["sizes"]) == sum(
        r["objects"] for r in results["per_class"].values()
    )


def test_a_class_without_objects_is_not_known() -> None:
    entries = [ImageEntry(1, 0, image_boxes([(0, 0, 0.9)], [(0, 0)]))]
    numbers = box_numbers(entries, LABELS, None)
    assert numbers["precision_recall"]["classes"]["b"] is None and numbers["best_f1"]["b"] is None
    assert numbers["best_f1"]["a"]["f1"] == 1.0
    assert [row["AP"] for row in numbers["sizes"]] == [pytest.approx(1.0), None, None]
    assert numbers["score_threshold"] == 0.45, "the middle of those with the best F1"


def test_nothing_found_and_nothing_there() -> None:
    numbers = box_numbers([ImageEntry(1, 0, image_boxes([], []))], LABELS, None)
    assert (
        numbers["AP"] is None and numbers["threshold_sweep"]["best"] is None and numbers["confusion"] is None
    )
    stuff = LabelMap.from_names([], stuff=["sky"])
    assert (
        box_numbers([ImageEntry(1, 0, image_boxes([(0, 0, 0.9)], [(0, 0)]))], stuff, 0.5)["confusion"] is None
    )
