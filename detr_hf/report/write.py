"""From a finished run to the files of its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_hf.files import write_text
from detr_hf.report import tables
from detr_hf.report.examples import Example, draw_examples
from detr_hf.report.figures import threshold_charts, training_charts
from detr_hf.report.inputs import ReportInputs, report_numbers
from detr_hf.report.quality import worst_and_best
from detr_hf.run_folder import REPORT_NUMBERS, REPORT_PAGE, REPORT_TEXT, RunFolder
from detr_hf.templating import render_html, render_markdown


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
    write_text(folder / REPORT_NUMBERS, json.dumps(numbers, indent=1, default=_plain) + "\n")
    write_text(folder / REPORT_TEXT, render_markdown(REPORT_TEXT, **values))
    page = render_html(
        REPORT_PAGE,
        **values,
        tiles=tables.tiles(numbers["results"]),
        training_charts=training_charts(numbers["history"]),
        threshold_charts=threshold_charts(numbers) if values["sweep"] else [],
        curves_of_classes=(numbers["precision_recall"] or {}).get("classes"),
        recipe=RunFolder(folder).recipe_text() or "not known: there is no recipe.yaml",
    )
    return write_text(folder / REPORT_PAGE, page)


def _values(numbers: Mapping[str, Any], drawn: list[tuple[str, list[Example]]]) -> dict[str, Any]:
    """What the page and the Markdown file share."""
    sweep, confusion = numbers["threshold_sweep"], numbers["confusion"]
    return {
        "numbers": numbers,
        "panoptic": tables.panoptic_rows(numbers["results"]),
        "boxes": tables.box_rows(numbers["results"]),
        "classes": tables.class_table(numbers["classes"]),
        "sweep": tables.sweep_rows(sweep) if sweep else None,
        "sizes": tables.size_rows(numbers["sizes"]) if sweep else None,
        "confusion": tables.confusion_table(confusion) if confusion else None,
        "examples": drawn,
    }


def _plain(value: Any) -> Any:
    """numpy numbers, where one has slipped in."""
    return value.item()
