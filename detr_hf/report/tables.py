"""Tables of the report as rows of text: shared by the page and the Markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detr_hf.metrics.tables import NONE, percent, said

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

    @property
    def is_number(self) -> bool:
        """Numbers are set right."""
        return self.key != "kind"


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
    Column("queries", "queries", "how many queries were ever right about the class; see Queries"),
)


@dataclass(frozen=True)
class ClassTable:
    """The classes that some image has an object of.

    Attributes:
        columns: those that some class has a value for, and the counts in any case.
        rows: (name, cells, AP50) of each class; a cell is (column, text, share of a bar behind it or None).
        left_out: how many classes no image has an object of.
    """

    columns: list[Column]
    rows: list[tuple[str, list[tuple[Column, str, float | None]], str]]
    left_out: int

    def heads(self) -> list[str]:
        """For Markdown."""
        return ["class", *(column.head for column in self.columns)]

    def table(self) -> list[list[str]]:
        """For Markdown."""
        return [[name, *(text for _, text, _ in cells)] for name, cells, _ in self.rows]


def class_table(classes: Sequence[Mapping[str, Any]]) -> ClassTable:
    """What the report shows of each class, in the label map's order."""
    counts = ("training_objects", "validation_objects")
    shown = [row for row in classes if any(row.get(key) != 0 for key in counts)]
    columns = [
        column
        for column in CLASS_COLUMNS
        if column.key in (*counts, "AP") or any(row.get(column.key) is not None for row in shown)
    ]
    rows = [
        (str(row["class"]), [_cell(row.get(column.key), column) for column in columns], said(row.get("AP50")))
        for row in shown
    ]
    return ClassTable(columns, rows, len(classes) - len(shown))


def _cell(value: Any, column: Column) -> tuple[Column, str, float | None]:
    share = value if column.bar and isinstance(value, float) else None
    return column, said(value, column.in_percent, column.digits), share


def why_table(numbers: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the fates of each class's objects, those that lose most first.

    By segments where they tell; columns of sizes and training images only where something is known.
    """
    key = "segment_fates" if numbers["why"]["by_segments"] else "fates"
    shown = [row for row in numbers["classes"] if sum((row.get(key) or {}).values())]
    shown.sort(key=lambda row: row[key]["found"] / sum(row[key].values()))
    kinds = [kind for kind in shown[0][key] if kind != "found"] if shown else []
    heads = ["class", "objects", "found", *kinds, "taken for", "duplicate", "background", "AP50 if fixed"]
    rows = []
    for row in shown:
        fates, taken, gains = row[key], row["taken_for"], row["gains"] or {}
        most = max(gains, key=lambda kind: gains[kind], default=None)
        gain = f"{most} +{gains[most]:.3f}" if most and gains[most] >= 0.0005 else NONE
        counts = [sum(fates.values()), fates["found"], *(fates[kind] for kind in kinds)]
        false = [row["false"][kind] for kind in ("duplicate", "background")]
        rows.append([row["class"], *map(str, counts), next(iter(taken), NONE), *map(str, false), gain])
        if numbers["why"]["network_input"]:
            training = row["seen_px_training"]
            rows[-1] += [
                said(row["seen_px"], digits=0),
                NONE if training is None else " to ".join(f"{px:.0f}" for px in dict.fromkeys(training)),
                percent(row["narrower_than_cell"]),
            ]
        rows[-1].append(said(row["training_images"]))
    if numbers["why"]["network_input"]:
        heads += ["px seen", "in training", "% under a cell"]
    return [*heads, "training images"], rows


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the numbers that stand above all others."""
    boxes, segments = results.get("detection") or {}, (results.get("panoptic") or {}).get("All") or {}
    shown = [(name, said(segments.get(name.lower()), True)) for name in ("PQ", "SQ", "RQ") if segments]
    return shown + [(f"box {name}", said(boxes.get(name))) for name in ("AP", "AP50", "AR") if name in boxes]


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


def size_rows(sizes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """AP and AR by size of the object."""
    return [
        [f"{row['size']} ({row['area']})", said(row["objects"]), said(row["AP"]), said(row["AR"])]
        for row in sizes
    ]


def sweep_rows(sweep: Mapping[str, Any]) -> list[list[str]]:
    """Precision, recall and F1 at every tenth of the thresholds."""
    keys = ("precision", "recall", "f1")
    return [
        [f"{sweep['threshold'][at]:.2f}", *(said(sweep[key][at]) for key in keys)]
        for at in range(0, len(sweep["threshold"]), 10)
    ]


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of the classes that are shown, background last: truth down, prediction across."""

    names: list[str]
    rows: list[tuple[str, list[int]]]
    left_out: int

    def table(self) -> list[list[Any]]:
        """For Markdown."""
        return [[name, *counts] for name, counts in self.rows]


def confusion_table(confusion: Mapping[str, Any]) -> ConfusionTable:
    """The part of a confusion matrix that can be read.

    Of many classes those with the most confusions and misses are shown, and none that does not occur; others
    are left out, not summed.
    """
    names, counts = list(confusion["classes"]), confusion["counts"]
    seen = {i: sum(counts[i]) + sum(row[i] for row in counts) for i in range(len(names))}
    shown = [i for i in seen if seen[i]]
    if len(shown) > MOST_CONFUSED:
        wrong = {i: seen[i] - 2 * counts[i][i] for i in shown}
        shown = sorted(sorted(shown, key=lambda i: -wrong[i])[:MOST_CONFUSED])
    places, titles = [*shown, len(names)], [*(names[i] for i in shown), "background"]
    rows = [(title, [counts[i][j] for j in places]) for title, i in zip(titles, places, strict=True)]
    return ConfusionTable(titles, rows, len(names) - len(shown))
