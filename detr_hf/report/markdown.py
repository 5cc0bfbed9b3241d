"""The report as Markdown: the tables of the page, without its charts and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_hf.report import tables
from detr_hf.report.pictures import Drawn
from detr_hf.report.words import CONFUSION, QUALITY, RANKED_BY, SIZES, subtitle
from detr_hf.sanitize import escape_markdown as plain_markdown
from detr_hf.sanitize import markdown_table


def report_markdown(numbers: Mapping[str, Any], worst: Sequence[Drawn], best: Sequence[Drawn]) -> str:
    """The whole file; arguments as ``page.report_page`` takes them."""
    return "\n\n".join(_parts(numbers, worst, best)) + "\n"


def _parts(numbers: Mapping[str, Any], worst: Sequence[Drawn], best: Sequence[Drawn]) -> Iterator[str]:
    yield f"# {plain_markdown(numbers['run'])}"
    yield plain_markdown(subtitle(numbers))
    yield from (f"**Note:** {plain_markdown(note)}" for note in numbers["notes"])
    results = numbers["results"]
    if panoptic := tables.panoptic_rows(results):
        yield _table(["Panoptic", "PQ", "SQ", "RQ", "N"], panoptic)
    if boxes := tables.box_rows(results):
        yield markdown_table(["Boxes", "area", "maxDets", "value"], boxes, left=2)
    classes, others = tables.occurring(numbers["classes"])
    columns = tables.class_columns(classes)
    yield "## Classes"
    heads = ["class", *(column.head for column in columns)]
    yield _table(heads, tables.class_rows(classes, columns))
    if others:
        yield others
    if numbers["threshold_sweep"]:
        yield "## Boxes\n\n" + tables.best_threshold(numbers["threshold_sweep"])
        yield _table(
            ["score above", "precision", "recall", "F1"], tables.sweep_rows(numbers["threshold_sweep"])
        )
        yield (
            _table(["object size", "objects", "AP", "AR"], tables.size_rows(numbers["sizes"]))
            + f"\n\n{SIZES}"
        )
    if numbers["confusion"]:
        yield from _confusion(numbers["confusion"])
    for title, drawn in (("Worst images", worst), ("Best images", best)):
        if drawn:
            yield f"## {title}\n\n{_measure(numbers)}"
            yield _table(["image", "id", "quality", "matched", "false", "missed"], map(_row, drawn))
    yield "## The run"
    yield "\n".join(
        f"- {plain_markdown(name)}: {plain_markdown(value)}" for name, value in numbers["facts"].items()
    )
    yield "Curves and pictures are in report.html, all numbers in report.json."


def _table(heads: Sequence[str], rows: Any) -> str:
    return markdown_table(heads, list(rows))


def _measure(numbers: Mapping[str, Any]) -> str:
    stage = "segments" if "panoptic" in numbers["results"] else "boxes"
    return f"{RANKED_BY[stage].format(threshold=numbers['score_threshold'])} {QUALITY}"


def _row(drawn: Drawn) -> list[str]:
    one = drawn.quality
    name = drawn.file_name or "not known"
    return [name, *(tables.said(v) for v in (one.image_id, one.quality, one.matched, one.false, one.missed))]


def _confusion(confusion: Mapping[str, Any]) -> Iterator[str]:
    names, counts, more = tables.readable_confusion(confusion)
    yield f"## Confusion of things\n\n{CONFUSION.format(**confusion)} {more}".rstrip()
    yield _table(["truth", *names], [[name, *map(str, row)] for name, row in zip(names, counts, strict=True)])
