"""Runs side by side: their numbers, what differs in their recipes, and their curves laid over one another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.labels import LABEL_MAP_FILE, LabelMap
from detr_hf.metrics.per_image_results import load_per_image
from detr_hf.metrics.tables import NONE, said
from detr_hf.report.charts import Axis, Chart, Line, line_chart
from detr_hf.report.class_changes import Change, ClassRow, change_sentences, class_rows, found_objects
from detr_hf.report.comparable import Scored, why_not_comparable
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
DEFAULT_THRESHOLD = 0.5  # for found objects, where a run has no report that names one
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
    """One run: its name in the comparison, its folder, and what that says."""

    name: str
    folder: Path
    scored: Scored
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
        notes: why numbers cannot be compared; then no row has a best cell, and there are no classes.
        classes: every class with objects, each run beside the first one.
        changes: a sentence for each run but the first: what it found that the first did not.
        by_segments: whether classes have PQ in percent, not AP.
    """

    runs: list[Compared]
    metrics: list[Row]
    settings: list[Row]
    notes: list[str]
    classes: list[ClassRow]
    changes: list[str]
    by_segments: bool

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
    scored = [run.scored for run in runs]
    reasons = why_not_comparable(scored)
    rows = (_metric(runs, name, at, in_percent, with_best=not reasons) for name, at, in_percent in METRICS)
    metrics = [row for row in rows if row is not None]
    metrics += [Row(name, [said(run.totals.get(key), digits=1) for run in runs]) for name, key in COSTS]
    flat = [_flat(run.recipe) for run in runs]
    keys = dict.fromkeys(key for recipe in flat for key in recipe if key not in NOT_COMPARED)
    settings = [Row(key, [recipe.get(key, NONE) for recipe in flat]) for key in keys]
    settings += [Row(name, [run.facts[name] for run in runs]) for name in SAME_IN_RUNS]
    settings = [row for row in settings if len(set(row.cells)) > 1]
    notes = [f"scores cannot be compared, and no best is marked: {reason}" for reason in reasons]
    notes += [f"{run.name} has no best/ yet" for run in runs if not run.results]
    by_segments = all("panoptic" in run.results for run in runs)
    classes = [] if reasons else _classes(runs, by_segments)
    changes = change_sentences([run.name for run in runs], classes)
    return Comparison(runs, metrics, settings, notes, classes, changes, by_segments)


def comparison_text(found: Comparison) -> str:
    """The tables as Markdown; the best of a row has a star."""
    metrics = [
        [row.name, *(f"★ {cell}" if at in row.best else cell for at, cell in enumerate(row.cells))]
        for row in found.metrics
    ]
    settings = [[row.name, *row.cells] for row in found.settings]
    classes = [
        [row.name, row.objects, *(" ".join(_shown(found, cell)) for cell in row.cells)]
        for row in found.classes
    ]
    # of more runs the table is wider than a terminal; the page has it
    tables = {"metrics": metrics, "settings": settings, "classes": classes if len(found.runs) == 2 else []}
    text = render_markdown("compare.md", found=found, runs=found.names, **tables)
    return text.strip()


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the page with the tables and the curves.

    Raises:
        UserError: it cannot be written.
    """
    has_best = any(row.best for row in found.metrics)
    classes = [
        (row.name, row.objects, [(*_shown(found, cell), cell.verdict) for cell in row.cells])
        for row in found.classes
    ]
    values = {"charts": list(_charts(found.runs)), "classes": classes, "has_best": has_best}
    return write_text(path, render_html("compare.html", found=found, runs=found.names, **values))


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
    scored = _scored(run, name, str(recipe.get("task") or ""), results)
    return Compared(name, folder, scored, results, recipe, sums, facts, curves(lines), run.report_numbers())


def _scored(run: RunFolder, name: str, task: str, results: Mapping[str, Any]) -> Scored:
    of_classes = (results.get("detection") or {}).get("per_class") or {}
    objects = {each: (row or {}).get("objects") for each, row in of_classes.items()}
    try:
        names = list(LabelMap.load(run.best / LABEL_MAP_FILE).names)
        per_image = load_per_image(run, len(names))
    except UserError:  # of an older version, or lost
        names, per_image = list(objects), None
    return Scored(name, task, names, objects, per_image)


def _names(folders: Sequence[Path]) -> list[str]:
    """The paths of the folders without what all begin and end with; a folder that comes again is numbered."""
    parts = [folder.resolve().parts for folder in folders]
    start = _common(parts)
    end = _common([one[start:][::-1] for one in parts])
    names = ["/".join(one[start : len(one) - end]) for one in parts]
    return [
        name if name not in names[:at] else f"{name} ({1 + names[:at].count(name)})"
        for at, name in enumerate(names)
    ]


def _common(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all begin with; at least one part of each is left."""
    most = min(len(one) for one in parts) - 1
    same = (len(set(column)) == 1 for column in zip(*parts, strict=False))
    return next((at for at, is_same in enumerate(same) if not is_same or at == most), most)


def _classes(runs: Sequence[Compared], by_segments: bool) -> list[ClassRow]:
    """Every class, in the order of the first run's; nothing where a run has no scores yet."""
    if not all(run.results for run in runs):
        return []
    names, part, key = (
        list(runs[0].scored.classes),
        *(("panoptic", "pq") if by_segments else ("detection", "AP")),
    )
    scores: list[list[float | None]] = []
    found: list[NDArray[np.int64] | None] = []
    for run in runs:
        rows = (run.results.get(part) or {}).get("per_class") or {}
        scores.append([_value(rows.get(name), key) for name in names])
        results, classes = run.scored.per_image, list(run.scored.classes)
        if results is None or (by_segments and results.segments is None):
            found.append(None)
            continue
        if not by_segments:
            results = replace(results, segments=None)
        order = [classes.index(name) for name in names]
        found.append(found_objects(results, len(classes), _threshold(run))[:, order])
    objects = [int(runs[0].scored.objects.get(name) or 0) for name in names]
    return class_rows(names, objects, scores, found)


def _threshold(run: Compared) -> float:
    """Above which a box counts as found: that of the run's report."""
    value = run.report.get("score_threshold")
    return float(value) if isinstance(value, int | float) else DEFAULT_THRESHOLD


def _shown(found: Comparison, cell: Change) -> tuple[str, str, str]:
    """Score, difference and exchanged objects of a class, as text; "" for what is not known."""
    score = said(cell.score, found.by_segments)
    if cell.difference is None:
        return score, "", ""
    difference = f"{100 * cell.difference:+.1f}" if found.by_segments else f"{cell.difference:+.3f}"
    return score, difference, "" if cell.gained is None else f"(+{cell.gained} -{cell.lost})"


def _metric(runs: Sequence[Compared], name: str, at: str, in_percent: bool, with_best: bool) -> Row | None:
    values = [_value(run.results, at) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return None
    is_told = with_best and len(set(known)) > 1
    best = frozenset(i for i, value in enumerate(values) if value == max(known) and is_told)
    return Row(name, [said(value, in_percent) for value in values], best)


def _value(results: Any, at: str) -> float | None:
    for key in at.split("."):
        results = results.get(key) if isinstance(results, Mapping) else None
    return float(results) if isinstance(results, int | float) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A recipe as ``{"optim.lr": "0.0001"}``; a list of transforms is named, then each of them."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            named = [(str(one.get("name", at)), one) for at, one in enumerate(value)]
            flat[f"{prefix}{key}"] = ", ".join(name for name, _ in named)
            for name, one in named:
                flat |= _flat({k: v for k, v in one.items() if k != "name"}, f"{prefix}{key}.{name}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else str(value)
    return flat
