"""Curves and tables of boxes, from the per-image results of an evaluation and pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.labels import LabelMap
from detr_hf.metrics.box_scores import (
    ALL,
    FIRST_100,
    IOU_50,
    IOU_75,
    LARGE,
    MEDIUM,
    SMALL,
    count_objects,
    mean_of_filled,
    score_boxes,
)
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.matching import LEAST_IOU, best_threshold, confusion, match, sweep

SIZES = (
    ("small", "under 32² px", SMALL, 0.0, 32.0**2),
    ("medium", "32² to 96² px", MEDIUM, 32.0**2, 96.0**2),
    ("large", "over 96² px", LARGE, 96.0**2, float("inf")),
)


def box_numbers(entries: list[ImageEntry], labels: LabelMap, score_threshold: float | None) -> dict[str, Any]:
    """All that a report says of boxes.

    Args:
        entries: with ``ImageBoxes``.
        labels: names the classes.
        score_threshold: of the confusion matrix; None: the best one, see ``best_threshold``.

    Returns:
        "AP" and "AR", computed anew; "sizes", "precision_recall", "threshold_sweep", "score_threshold" and
        "confusion" (None without things, or where nothing was found), and "best_f1" by class name.
    """
    scored = score_boxes(entries, labels.num_classes).eval
    precision, recall = scored["precision"], scored["recall"]
    matches = [match(entry.content) for entry in entries]
    objects = count_objects(entries, labels.num_classes)
    swept = sweep(matches, int(objects.sum()))
    of_classes = {
        category.name: sweep(matches, int(objects[category.id]), category.id)
        for category in labels.categories
    }
    if score_threshold is None:
        seen = [category for category in labels.categories if objects[category.id]]
        score_threshold = best_threshold([of_classes[category.name]["f1"] for category in seen])
    return {
        "AP": mean_of_filled(precision[:, :, :, ALL, FIRST_100]),
        "AR": mean_of_filled(recall[:, :, ALL, FIRST_100]),
        "sizes": _sizes(entries, precision, recall),
        "precision_recall": _precision_recall(precision[..., ALL, FIRST_100], labels),
        "threshold_sweep": swept,
        "score_threshold": score_threshold,
        "best_f1": {name: one["best"] for name, one in of_classes.items()},
        "confusion": _confusion(entries, labels, score_threshold),
    }


def _sizes(
    entries: list[ImageEntry], precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> list[dict[str, Any]]:
    areas = [entry.content.truth_areas[~entry.content.truth_crowd] for entry in entries]
    every = np.concatenate(areas) if areas else np.zeros(0)
    return [
        {
            "size": name,
            "area": area,
            "objects": int(((every >= low) & (every <= high)).sum()),
            "AP": mean_of_filled(precision[:, :, :, place, FIRST_100]),
            "AR": mean_of_filled(recall[:, :, place, FIRST_100]),
        }
        for name, area, place, low, high in SIZES
    ]


def _precision_recall(precision: NDArray[np.float64], labels: LabelMap) -> dict[str, Any]:
    """Precision at 101 recalls, mean over the classes that have objects; ``precision`` is [10, 101, C]."""
    return {
        "recall": (np.arange(101) / 100).tolist(),
        "IoU 0.50": _mean_curve(precision[IOU_50]),
        "IoU 0.75": _mean_curve(precision[IOU_75]),
        "IoU 0.50 to 0.95": _mean_curve(precision.mean(0)),
        "classes": {
            category.name: _mean_curve(precision[IOU_50, :, category.id : category.id + 1])
            for category in labels.categories
        },
    }


def _mean_curve(precision: NDArray[np.float64]) -> list[float] | None:
    filled = precision[:, precision[0] > -1]
    return [round(float(value), 4) for value in filled.mean(1)] if filled.size else None


def _confusion(
    entries: list[ImageEntry], labels: LabelMap, score_threshold: float | None
) -> dict[str, Any] | None:
    if not labels.thing_ids or score_threshold is None:
        return None
    table = confusion(entries, labels.thing_ids, score_threshold)
    return {
        "iou": LEAST_IOU,
        "score_threshold": score_threshold,
        "classes": [labels.names[label] for label in labels.thing_ids],
        "rows_are": "truth, the last one background",
        "columns_are": "prediction, the last one background",
        "counts": table.tolist(),
    }
