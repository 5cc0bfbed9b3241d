"""Tables of the report as rows of text: shared by the page and the Markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detr_hf.metrics.tables import NONE, percent

MOST_CONFUSED = 30  # classes of a confusion matrix that can be read


@dataclass(frozen=True)
class Column:
    """A column of the table of classes: its head, its key in the numbers, its meaning and its form."""

    head: str
    key: str
    means: str
    in_percent: bool = False
    bar: bool = False
    digits: int = 3


CLASS_COLUMNS = (
    Column("kind", "kind", "thing: can be counted; stuff: an area"),
    Column("train", "training_objects", "objects in the training images, crowds left out"),
    Column("val", "validation_objects", "objects in the validation images, crowds left out"),
    Column("AP", "AP", "box average precision, IoU 0.50 to 0.95", bar=True),
    Column("AP50", "AP50", "box average precision at IoU 0.50"),
    Column("AR", "AR", "box average recall, IoU 0.50 to 0.95"),
    Column("PQ", "PQ", "panoptic quality, percent", in_percent=True, bar=True),
    Column("SQ", "SQ", "segmentation quality, percent", in_percent=True),
    Column("RQ", "RQ", "recognition quality, percent", in_percent=True),
    Column("best F1", "best_f1", "of the class's boxes, at the threshold that is best for it"),
    Column("at", "best_threshold", "the score threshold with the best F1", digits=2),
)


def occurring(classes: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], str]:
    """The classes that some image has an object of, and a sentence on the others; "" where there are none."""
    counts = ("training_objects", "validation_objects")
    shown = [row for row in classes if any(row.get(key) != 0 for key in counts)]
    others = len(classes) - len(shown)
    return shown, f"{others} more classes: no image has an object of them." if others else ""


def class_columns(classes: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Those that some class has a value for, and the counts in any case."""
    always = ("training_objects", "validation_objects", "AP")
    return [
        column
        for column in CLASS_COLUMNS
        if column.key in always or any(row.get(column.key) is not None for row in classes)
    ]


def said(value: Any, in_percent: bool = False, digits: int = 3) -> str:
    """A number as tables show it: shares with their digits or in percent, counts whole, nothing as a dash."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return percent(value) if in_percent else f"{value:.{digits}f}"
    return str(value)


def panoptic_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """All, Things and Stuff with PQ, SQ, RQ in percent and N; none for stage 1."""
    panoptic = results.get("panoptic") or {}
    groups = [name for name in ("All", "Things", "Stuff") if name in panoptic]
    keys = (("pq", True), ("sq", True), ("rq", True), ("n", False))
    return [
        [name, *(said(panoptic[name].get(key), in_percent) for key, in_percent in keys)] for name in groups
    ]


def box_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Box AP and AR, then by IoU, size of object and limit on detections an image."""
    boxes = results.get("detection") or {}
    rows = (
        ("AP 0.50:0.95", "all", "100", "AP"),
        ("AR 0.50:0.95", "all", "100", "AR"),
        ("AP 0.50", "all", "100", "AP50"),
        ("AP 0.75", "all", "100", "AP75"),
        ("AP 0.50:0.95", "small", "100", "AP_small"),
        ("AP 0.50:0.95", "medium", "100", "AP_medium"),
        ("AP 0.50:0.95", "large", "100", "AP_large"),
        ("AR 0.50:0.95", "all", "1", "AR1"),
        ("AR 0.50:0.95", "all", "10", "AR10"),
    )
    return [[name, area, most, said(boxes.get(key))] for name, area, most, key in rows if key in boxes]


def class_rows(classes: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[list[str]]:
    """Name and columns of every class."""
    return [
        [str(row["class"]), *(said(row.get(c.key), c.in_percent, c.digits) for c in columns)]
        for row in classes
    ]


def size_rows(sizes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """AP and AR by size of the object."""
    return [
        [f"{row['size']} ({row['area']})", said(row["objects"]), said(row["AP"]), said(row["AR"])]
        for row in sizes
    ]


def sweep_rows(sweep: Mapping[str, Any], every: int = 10) -> list[list[str]]:
    """Precision, recall and F1 at some of the thresholds."""
    keys = ("precision", "recall", "f1")
    return [
        [f"{sweep['threshold'][at]:.2f}", *(said(sweep[key][at]) for key in keys)]
        for at in range(0, len(sweep["threshold"]), every)
    ]


def best_threshold(sweep: Mapping[str, Any]) -> str:
    """The best threshold in a sentence."""
    best = sweep["best"]
    if best is None:
        return "No box is right at any threshold."
    return (
        f"F1 is highest, {best['f1']:.3f}, at a threshold of {best['threshold']:.2f}: precision "
        f"{said(best['precision'])}, recall {said(best['recall'])}."
    )


def readable_confusion(confusion: Mapping[str, Any]) -> tuple[list[str], list[list[int]], str]:
    """Names and counts of the classes that are shown, background last, and a sentence on those left out.

    Of many classes those with the most confusions and misses are shown, and none that does not occur; others
    are left out, not summed.
    """
    names, counts = list(confusion["classes"]), confusion["counts"]
    seen = {i: sum(counts[i]) + sum(row[i] for row in counts) for i in range(len(names))}
    shown = [i for i in seen if seen[i]]
    if len(shown) > MOST_CONFUSED:
        wrong = {i: seen[i] - 2 * counts[i][i] for i in shown}
        shown = sorted(sorted(shown, key=lambda i: -wrong[i])[:MOST_CONFUSED])
    places, others = [*shown, len(names)], len(names) - len(shown)
    table = [[counts[i][j] for j in places] for i in places]
    more = f"{others} more classes, with fewer confusions or none: see report.json." if others else ""
    return [*(names[i] for i in shown), "background"], table, more
