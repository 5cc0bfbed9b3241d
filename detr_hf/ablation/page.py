"""The table of a study as a page, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detr_hf.ablation.study import BASE, Study
from detr_hf.ablation.table import ablation_numbers, interval, shown, signed
from detr_hf.files import write_json, write_text
from detr_hf.metrics.tables import said
from detr_hf.templating import render_markdown

NUMBERS, TEXT, PAGE = "ablation.json", "ablation.md", "ablation.html"


def write_ablation(study: Study) -> dict[str, Any]:
    """Read all runs and write the three files; several processes may do so at once.

    Returns:
        What ``ablation.json`` holds.

    Raises:
        UserError: a file cannot be written.
    """
    numbers = ablation_numbers(study)
    write_json(study.folder / NUMBERS, numbers, shared=True)
    write_text(study.folder / TEXT, ablation_text(numbers), shared=True)
    return numbers


def ablation_text(numbers: Mapping[str, Any]) -> str:
    """The study as Markdown."""
    tables = [(name, metric_rows(numbers, name)) for name in numbers["metrics"]]
    return render_markdown(
        "ablation.md",
        numbers=numbers,
        sentences=[[row["name"], row["says"], row["sentence"]] for row in numbers["variants"]],
        tables=tables,
        heads=HEADS,
        costs=cost_rows(numbers),
        failed=failed_rows(numbers),
    )


HEADS = (
    "",
    "n",
    "best/",
    "sd",
    "to the base",
    "95 % interval",
    "last/",
    "sd",
    "to the base",
    "95 % interval",
)


def metric_rows(numbers: Mapping[str, Any], name: str) -> list[list[str]]:
    """Of each variant: n, then mean, spread, difference and interval of both models."""
    rows = []
    for variant in numbers["variants"]:
        row = [variant["name"], str(variant["scores"]["best"][name]["n"])]
        for model in ("best", "last"):
            score = variant["scores"][model][name]
            gap = score["difference"]
            row += [shown(score["mean"], name), shown(score["sd"], name)]
            if gap is None:
                row += ["" if variant["name"] == BASE else "-"] * 2
            else:
                row += [signed(gap["mean"], name), interval(gap["low"], gap["high"], name) or "-"]
        rows.append(row)
    return rows


def cost_rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    """Minutes of training steps and memory."""
    return [
        [row["name"], said(row["minutes"], digits=2), said(row["memory_mb"])] for row in numbers["variants"]
    ]


def failed_rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    """Runs with no result, and why."""
    return [
        [f"{run['variant']}, seed {run['seed']}, {run['stage']}", run["state"], run["detail"]]
        for run in numbers["runs"]
        if run["state"] in ("failed", "other")
    ]
