"""The charts of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_hf.report.charts import Axis, Line, bar_chart, line_chart
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


def course_of_training(numbers: Mapping[str, Any]) -> Iterator[str]:
    """Losses, scores, rates, gradient and speed over the steps."""
    history: dict[str, Points] = numbers["history"]
    terms = {TERMS.get(name, name): points for name, points in history["terms"].items()}
    yield line_chart(
        "Loss", _lines(history["loss"]), STEPS, Axis("loss", low=0), "whole, mean since the last point"
    )
    yield line_chart("Loss by term", _lines(terms), STEPS, Axis("loss", low=0), "of the last decoder layer")
    yield line_chart(
        "Validation", _lines(history["scores"]), STEPS, Axis("0 to 1", *SHARE), "after each evaluation"
    )
    yield line_chart(
        "Learning rate", _lines(history["rates"]), STEPS, Axis("rate", low=0), "by group of parameters"
    )
    yield line_chart(
        "Gradient norm", _lines(history["gradient"]), STEPS, Axis("norm", low=0), "before clipping"
    )
    yield line_chart(
        "Speed", _lines(history["speed"]), STEPS, Axis("images a second", low=0), "while training"
    )


def threshold_charts(numbers: Mapping[str, Any]) -> Iterator[str]:
    """Precision over recall, and both over the threshold."""
    curves, sweep = numbers["precision_recall"], numbers["threshold_sweep"]
    classes = [
        Line(name, _pairs(curves["recall"], values), faint=True) for name, values in curves["classes"].items()
    ]
    means = [Line(name, _pairs(curves["recall"], curves[name])) for name in curves if name.startswith("IoU")]
    recall, precision = Axis("recall", *SHARE), Axis("precision", *SHARE)
    note = "means over classes; gray: each class at IoU 0.50"
    yield line_chart("Precision and recall", classes + means, recall, precision, note)
    lines = [Line(n, _pairs(sweep["threshold"], sweep[k])) for n, k in SWEPT]
    marks = [(sweep["best"]["threshold"], "best F1")] if sweep["best"] else []
    note = "all classes together, at IoU 0.50; upright: best F1"
    yield line_chart(
        "Score threshold", lines, Axis("score above", *SHARE), Axis("0 to 1", *SHARE), note, marks
    )


def size_chart(sizes: Sequence[Mapping[str, Any]]) -> str:
    """Box AP by size of the object."""
    bars = [(row["size"], row["AP"], f"{row['objects']} objects") for row in sizes]
    note = "small: under 32² pixels of area; large: over 96²"
    return bar_chart("AP by size of object", bars, Axis("box AP, IoU 0.50 to 0.95", *SHARE), note)


def _lines(points: Points) -> list[Line]:
    return [Line(name, curve) for name, curve in points.items()]


def _pairs(xs: Sequence[float], ys: Sequence[float | None] | None) -> list[list[float]]:
    return [[x, y] for x, y in zip(xs, ys or [], strict=False) if y is not None]
