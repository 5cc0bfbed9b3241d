"""The table of a study as a page, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from detr_hf.ablation.study import BASE, Study
from detr_hf.ablation.table import IN_PERCENT, ablation_numbers, interval, shown, signed
from detr_hf.files import write_json, write_text
from detr_hf.metrics.tables import said
from detr_hf.report.charts import Axis, Chart, Dots, dot_chart
from detr_hf.templating import render_html, render_markdown

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
    write_text(study.folder / PAGE, ablation_page(numbers), shared=True)
    return numbers


def ablation_text(numbers: Mapping[str, Any]) -> str:
    """The study as Markdown."""
    sentences = [[row["name"], row["sentence"], row["says"]] for row in numbers["variants"]]
    return render_markdown("ablation.md", sentences=sentences, **_shared(numbers))


def ablation_page(numbers: Mapping[str, Any]) -> str:
    """The study as one HTML file with charts."""
    first = numbers["metrics"][0]
    sentences = []
    for row in numbers["variants"]:
        gap = row["scores"]["best"][first]["difference"] or {}
        sentences.append([row["name"], row["says"], row["sentence"], gap.get("verdict")])
    shown_at = [(name, "best") for name in numbers["metrics"]]
    charts = [_chart(numbers, name, model) for name, model in [shown_at[0], (first, "last"), *shown_at[1:]]]
    return render_html("ablation.html", sentences=sentences, charts=charts, **_shared(numbers))


def _shared(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "numbers": numbers,
        "tables": [(name, metric_rows(numbers, name)) for name in numbers["metrics"]],
        "heads": HEADS,
        "costs": cost_rows(numbers),
        "failed": failed_rows(numbers),
    }


def _chart(numbers: Mapping[str, Any], name: str, model: str) -> Chart:
    """One metric of one model: a row for each variant, intervals set off from the mean of the base."""
    scale = 100 if name in IN_PERCENT else 1
    scores = [row["scores"][model][name] for row in numbers["variants"]]
    base = scores[0]["mean"]
    rows = []
    for row, score in zip(numbers["variants"], scores, strict=True):
        gap = score["difference"] or {}
        ends = [None if gap.get(end) is None else scale * (base + gap[end]) for end in ("low", "high")]
        middle = None if score["mean"] is None else scale * score["mean"]
        rows.append(
            Dots(shorten(row["name"], 56), [scale * v for v in score["by_seed"].values()], middle, *ends)
        )
    unit = Axis(f"{name}, percent" if scale > 1 else name)
    return dot_chart(f"{name}, {model}/", rows, unit, None if base is None else scale * base)


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
