"""The charts of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detr_hf.report.charts import Axis, Chart, Line, bar_chart, line_chart
from detr_hf.report.history import Points

STEPS = Axis("optimizer step", low=0)
SHARE = (0.0, 1.0)
SWEPT = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
TERMS = {
    "loss_ce": "class",
    "loss_bbox": "box L1",
    "loss_giou": "GIoU",
    "loss_mask": "focal",
    "loss_dice": "dice",
}


COURSES = (
    ("loss", "Loss", Axis("loss", low=0), "whole, mean since the last point"),
    ("terms", "Loss by term", Axis("loss", low=0), "of the last decoder layer"),
    ("scores", "Validation", Axis("0 to 1", *SHARE), "after each evaluation"),
    ("rates", "Learning rate", Axis("rate", low=0), "by group of parameters"),
    ("gradient", "Gradient norm", Axis("norm", low=0), "before clipping"),
    ("speed", "Speed", Axis("images a second", low=0), "while training"),
)


def training_charts(history: Mapping[str, Points]) -> list[Chart]:
    """Losses, scores, rates, gradient and speed over the steps."""
    return [
        line_chart(
            title,
            [Line(TERMS.get(name, name), points) for name, points in history[part].items()],
            STEPS,
            axis,
            note,
        )
        for part, title, axis, note in COURSES
    ]


def threshold_charts(numbers: Mapping[str, Any]) -> list[Chart]:
    """Precision over recall, both over the threshold, and box AP by size of the object."""
    curves, sweep = numbers["precision_recall"], numbers["threshold_sweep"]
    recall = curves["recall"]
    classes = [Line.of(name, recall, values, faint=True) for name, values in curves["classes"].items()]
    means = [Line.of(name, recall, curves[name]) for name in curves if name.startswith("IoU")]
    swept = [Line.of(name, sweep["threshold"], sweep[key]) for name, key in SWEPT]
    bars = [(row["size"], row["AP"], f"{row['objects']} objects") for row in numbers["sizes"]]
    return [
        line_chart(
            "Precision and recall",
            classes + means,
            Axis("recall", *SHARE),
            Axis("precision", *SHARE),
            "means over classes; gray: each class at IoU 0.50",
        ),
        line_chart(
            "Score threshold",
            swept,
            Axis("score above", *SHARE),
            Axis("0 to 1", *SHARE),
            "all classes together, at IoU 0.50; upright: best F1",
            [sweep["best"]["threshold"]] if sweep["best"] else [],
        ),
        bar_chart(
            "AP by size of object",
            bars,
            Axis("box AP, IoU 0.50 to 0.95", *SHARE),
            "small: under 32² pixels of area; large: over 96²",
        ),
    ]
