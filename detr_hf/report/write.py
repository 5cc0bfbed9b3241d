"""From a finished run to the files of its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_hf.errors import quantity
from detr_hf.files import write_text
from detr_hf.metrics.tables import panoptic_rows
from detr_hf.report import tables
from detr_hf.report.charts import Axis, Chart, Line, bar_chart, line_chart
from detr_hf.report.examples import Example, draw_examples
from detr_hf.report.history import Points
from detr_hf.report.inputs import ReportInputs, report_numbers
from detr_hf.report.quality import worst_and_best
from detr_hf.report.queries import query_chart
from detr_hf.run_folder import REPORT_NUMBERS, REPORT_PAGE, REPORT_TEXT, RunFolder
from detr_hf.templating import render_html, render_markdown

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


def write_report(inputs: ReportInputs, images: int) -> Path:
    """Write `report.html`, `report.md` and `report.json` into the run's folder.

    Args:
        inputs: the run.
        images: how many of the worst images are drawn, and as many of the best.

    Returns:
        The page.

    Raises:
        UserError: a file cannot be written.
    """
    numbers, ranked = report_numbers(inputs)
    titles = ("Worst images", "Best images")
    drawn = [
        (title, draw_examples(inputs, some, numbers["score_threshold"]))
        for title, some in zip(titles, worst_and_best(ranked, images), strict=True)
        if some
    ]
    values, folder = _values(numbers, drawn), inputs.folder
    # `default`: numpy numbers, where one has slipped in
    write_text(
        folder / REPORT_NUMBERS, json.dumps(numbers, indent=1, default=lambda number: number.item()) + "\n"
    )
    write_text(folder / REPORT_TEXT, render_markdown(REPORT_TEXT, **values))
    page = render_html(
        REPORT_PAGE,
        **values,
        tiles=tables.tiles(numbers["results"]),
        training_charts=_training_charts(numbers["history"]),
        query_charts=[query_chart(numbers["queries"])] if numbers["queries"] else [],
        threshold_charts=_threshold_charts(numbers) if values["sweep"] else [],
        curves_of_classes=(numbers["precision_recall"] or {}).get("classes"),
        recipe=RunFolder(folder).recipe_text() or "not known: there is no recipe.yaml",
    )
    return write_text(folder / REPORT_PAGE, page)


def _values(numbers: Mapping[str, Any], drawn: list[tuple[str, list[Example]]]) -> dict[str, Any]:
    """What the page and the Markdown file share."""
    sweep, confusion = numbers["threshold_sweep"], numbers["confusion"]
    return {
        "numbers": numbers,
        "panoptic": panoptic_rows(numbers["results"].get("panoptic") or {}),
        "boxes": tables.box_rows(numbers["results"]),
        "classes": tables.class_table(numbers["classes"]),
        "sweep": tables.sweep_rows(sweep) if sweep else None,
        "sizes": tables.size_rows(numbers["sizes"]) if sweep else None,
        "confusion": tables.confusion_table(confusion) if confusion else None,
        "why": tables.why_table(numbers) if numbers["why"] else None,
        "examples": drawn,
    }


def _training_charts(history: Mapping[str, Points]) -> list[Chart]:
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


def _threshold_charts(numbers: Mapping[str, Any]) -> list[Chart]:
    """Precision over recall, both over the threshold, and box AP by size of the object."""
    curves, sweep = numbers["precision_recall"], numbers["threshold_sweep"]
    recall = curves["recall"]
    classes = [Line.of(name, recall, values, faint=True) for name, values in curves["classes"].items()]
    means = [Line.of(name, recall, curves[name]) for name in curves if name.startswith("IoU")]
    swept = [Line.of(name, sweep["threshold"], sweep[key]) for name, key in SWEPT]
    bars = [(row["size"], row["AP"], f"{quantity(row['objects'], 'object')}") for row in numbers["sizes"]]
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
