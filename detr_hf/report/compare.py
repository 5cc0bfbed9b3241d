"""Runs side by side: their numbers, what differs in their recipes, and their curves laid over one another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.files import write_text
from detr_hf.metrics.tables import NONE, said
from detr_hf.report.charts import Axis, Chart, Line, line_chart
from detr_hf.report.facts import facts_of, read_recipe
from detr_hf.report.history import Points, curves, totals
from detr_hf.run_folder import RunFolder
from detr_hf.templating import render_html, render_markdown

METRICS = (
    ("PQ", "panoptic.All.pq", True),
    ("SQ", "panoptic.All.sq", True),
    ("RQ", "panoptic.All.rq", True),
    ("PQ things", "panoptic.Things.pq", True),
    ("PQ stuff", "panoptic.Stuff.pq", True),
    *((f"box {name}", f"detection.{name}", False) for name in ("AP", "AP50", "AP75", "AR")),
    *((f"box AP {size}", f"detection.AP_{size}", False) for size in ("small", "medium", "large")),
)
COSTS = (
    *((name, name) for name in ("epochs", "steps")),
    ("minutes of training steps", "minutes"),
    ("images a second", "images_per_second"),
    ("most memory, MB", "memory_mb"),
)
SAME_IN_RUNS = (
    "network",
    "commit",
    "hardware",
    "Python",
    "libraries",
)  # facts that are shown where they differ
NOT_COMPARED = ("output_dir",)
SHARE = (0.0, 1.0)
COURSES = (
    ("Loss", "loss", "loss", Axis("loss", low=0)),
    ("PQ on the validation split", "scores", "PQ", Axis("PQ, 0 to 1", *SHARE)),
    ("Box AP on the validation split", "scores", "box AP", Axis("AP, 0 to 1", *SHARE)),
    ("Box AR on the validation split", "scores", "box AR", Axis("AR, 0 to 1", *SHARE)),
)
REPORTED = (
    (
        "Precision and recall",
        "precision_recall",
        ("recall", Axis("recall", *SHARE)),
        ("IoU 0.50", Axis("precision", *SHARE)),
    ),
    (
        "F1 by score threshold",
        "threshold_sweep",
        ("threshold", Axis("score above", *SHARE)),
        ("f1", Axis("F1", *SHARE)),
    ),
)


@dataclass(frozen=True)
class Compared:
    """One run: its name in the comparison and what its folder says."""

    name: str
    results: dict[str, Any]
    recipe: dict[str, Any]
    totals: dict[str, Any]
    facts: dict[str, str]
    history: dict[str, Points]
    report: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is, a cell for each run, and which cells are the best."""

    name: str
    cells: list[str]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Comparison:
    """Tables of runs.

    Attributes:
        runs: in the order given.
        metrics, settings: rows with a cell for each run; of settings only those that differ.
        notes: why numbers may not be comparable.
    """

    runs: list[Compared]
    metrics: list[Row]
    settings: list[Row]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Of the runs."""
        return [run.name for run in self.runs]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read runs, finished or not.

    Raises:
        UserError: a folder is no run.
    """
    runs = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    metrics = [row for name, at, in_percent in METRICS if (row := _metric(runs, name, at, in_percent))]
    metrics += [Row(name, [said(run.totals.get(key), digits=1) for run in runs]) for name, key in COSTS]
    flat = [_flat(run.recipe) for run in runs]
    keys = dict.fromkeys(key for recipe in flat for key in recipe if key not in NOT_COMPARED)
    settings = [Row(key, [recipe.get(key, NONE) for recipe in flat]) for key in keys]
    settings += [Row(name, [run.facts[name] for run in runs]) for name in SAME_IN_RUNS]
    return Comparison(runs, metrics, [row for row in settings if len(set(row.cells)) > 1], _notes(runs))


def comparison_text(found: Comparison) -> str:
    """Both tables as Markdown; the best of a row has a star."""
    metrics = [
        [row.name, *(f"★ {cell}" if at in row.best else cell for at, cell in enumerate(row.cells))]
        for row in found.metrics
    ]
    settings = [[row.name, *row.cells] for row in found.settings]
    text = render_markdown("compare.md", found=found, runs=found.names, metrics=metrics, settings=settings)
    return text.strip()


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the page with the tables and the curves.

    Raises:
        UserError: it cannot be written.
    """
    has_best = any(row.best for row in found.metrics)
    charts = list(_charts(found.runs))
    return write_text(
        path, render_html("compare.html", found=found, runs=found.names, charts=charts, has_best=has_best)
    )


def _charts(runs: Sequence[Compared]) -> Iterator[Chart]:
    """The curves of all runs laid over one another; none that no run has."""
    steps = Axis("optimizer step", low=0)
    for title, part, name, axis in COURSES:
        lines = [Line(run.name, run.history[part].get(name, [])) for run in runs]
        if any(line.points for line in lines):
            yield line_chart(title, lines, steps, axis)
    for title, part, (x, x_axis), (y, y_axis) in REPORTED:
        reports = [(run.name, run.report.get(part) or {}) for run in runs]
        lines = [Line.of(name, columns.get(x) or [], columns.get(y)) for name, columns in reports]
        if any(line.points for line in lines):
            yield line_chart(title, lines, x_axis, y_axis, "boxes at IoU 0.50")


def _read(folder: Path, name: str) -> Compared:
    run = RunFolder.open(folder)
    results, recipe, lines = run.best_metrics(), read_recipe(run), run.log()
    sums = totals(lines)
    facts = dict(facts_of(run, recipe, sums, results))
    return Compared(name, results, recipe, sums, facts, curves(lines), run.report_numbers())


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of the folders, or their paths where two are named alike."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _metric(runs: Sequence[Compared], name: str, at: str, in_percent: bool) -> Row | None:
    values = [_value(run.results, at) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return None
    best = frozenset(i for i, value in enumerate(values) if value == max(known) and len(set(known)) > 1)
    return Row(name, [said(value, in_percent) for value in values], best)


def _value(results: Any, at: str) -> float | None:
    for key in at.split("."):
        results = results.get(key) if isinstance(results, Mapping) else None
    return float(results) if isinstance(results, int | float) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A recipe as ``{"optim.lr": "0.0001"}``."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else str(value)
    return flat


def _notes(runs: Sequence[Compared]) -> list[str]:
    """Scores of different images say nothing about the runs."""
    truths = {
        json.dumps({name: row.get("objects") for name, row in (classes or {}).items()})
        for run in runs
        if (classes := (run.results.get("detection") or {}).get("per_class")) is not None
    }
    unscored = [run.name for run in runs if not run.results]
    notes = (
        ["the runs were scored on different objects: their numbers cannot be compared"]
        if len(truths) > 1
        else []
    )
    return notes + [f"{name} has no best/ yet" for name in unscored]
