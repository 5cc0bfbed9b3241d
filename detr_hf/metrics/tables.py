"""Results as tables: Markdown whose columns line up in a terminal as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detr_hf.sanitize import markdown_table

NONE = "-"


def score_of(results: Mapping[str, Any], name: str) -> float | None:
    """One number of the results by its recipe name: AP, AP50, AR or PQ; None where there is no object."""
    value = results["panoptic"]["All"]["pq"] if name == "PQ" else results["detection"][name]
    return None if value is None else float(value)


def results_tables(results: Mapping[str, Any]) -> str:
    """The table of boxes and, for a segmenter, the panoptic one above it."""
    parts = [panoptic_table(results["panoptic"])] if "panoptic" in results else []
    return "\n\n".join([*parts, detection_table(results["detection"])])


def results_page(results: Mapping[str, Any]) -> str:
    """Both tables and the numbers of each class, as Markdown."""
    parts = ["# Results on the validation split", results_tables(results), "## Boxes by class"]
    parts.append(per_class_table(results["detection"]))
    if "panoptic" in results:
        parts += ["## Segments by class", per_class_table(results["panoptic"])]
    return "\n\n".join(parts) + "\n"


def detection_table(result: Mapping[str, Any]) -> str:
    """Box AP and AR over IoU 0.50 to 0.95 and AP50, all at 100 detections an image, from ``CocoAP``."""
    names = ["AP", "AP50", "AR"]
    return markdown_table(["Boxes", *names], [["All", *(said(result[name]) for name in names)]])


def panoptic_table(result: Mapping[str, Any]) -> str:
    """``panoptic_rows`` as Markdown, from ``PanopticQuality.compute()``."""
    return markdown_table(["Panoptic", "PQ", "SQ", "RQ", "N"], panoptic_rows(result))


def panoptic_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """All, Things and Stuff, where they are known, with PQ, SQ, RQ in percent and the number of classes N."""
    groups = [name for name in ("All", "Things", "Stuff") if name in result]
    keys = (("pq", True), ("sq", True), ("rq", True), ("n", False))
    return [[name, *(said(result[name].get(key), in_percent) for key, in_percent in keys)] for name in groups]


def per_class_table(result: Mapping[str, Any]) -> str:
    """One row per class, in the label map's order, from either metric's result."""
    shares: tuple[str, ...]
    counts: tuple[str, ...]
    if "All" in result:
        shares, counts, shown = ("pq", "sq", "rq"), ("tp", "fp", "fn"), percent
        header = [key.upper() for key in (*shares, *counts)]
    else:
        shares, counts, shown = ("AP", "AP50", "AR"), ("objects",), said
        header = [*shares, *counts]
    rows = [
        [name, *(shown(row[key]) for key in shares), *(str(row[key]) for key in counts)]
        for name, row in result["per_class"].items()
    ]
    return markdown_table(["Class", *header], rows)


def said(value: Any, in_percent: bool = False, digits: int = 3) -> str:
    """A number as tables show it: shares with their digits or in percent, counts whole, nothing as a dash."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return percent(value) if in_percent else f"{value:.{digits}f}"
    return str(value)


def percent(value: float | None) -> str:
    """A share from 0 to 1 in percent; a dash for None."""
    return NONE if value is None else f"{100 * value:.1f}"
