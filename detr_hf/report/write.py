"""From a finished run to the files of its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detr_hf.files import write_text
from detr_hf.report.markdown import report_markdown
from detr_hf.report.page import report_page
from detr_hf.report.pictures import draw_all
from detr_hf.report.quality import worst_and_best
from detr_hf.report.subject import Subject, numbers_of
from detr_hf.run_folder import REPORT_NUMBERS, REPORT_PAGE, REPORT_TEXT, RunFolder


def write_report(subject: Subject, images: int) -> Path:
    """Write `report.html`, `report.md` and `report.json` into the run's folder.

    Args:
        subject: the run.
        images: how many of the worst images are drawn, and as many of the best.

    Returns:
        The page.

    Raises:
        UserError: a file cannot be written.
    """
    numbers, ranked = numbers_of(subject)
    worst, best = (
        draw_all(subject, some, numbers["score_threshold"]) for some in worst_and_best(ranked, images)
    )
    folder = subject.folder
    recipe = RunFolder(folder).recipe_text() or "not known: there is no recipe.yaml"
    write_text(folder / REPORT_NUMBERS, json.dumps(numbers, indent=1, default=_plain) + "\n")
    write_text(folder / REPORT_TEXT, report_markdown(numbers, worst, best))
    return write_text(folder / REPORT_PAGE, report_page(numbers, worst, best, recipe))


def _plain(value: Any) -> Any:
    """numpy numbers, where one has slipped in."""
    return value.item()
