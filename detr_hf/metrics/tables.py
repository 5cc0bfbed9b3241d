"""Results as tables: Markdown whose columns line up in a terminal as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detr_hf.sanitize import markdown_table

NONE = "-"


def score_of(results: Mapping[str, Any], name: str) -> float:
    """One number of the results by its recipe name: AP, AP50, AR or PQ; 0 where nothing could be measured."""
    value = results["panoptic"]["All"]["pq"] if name == "PQ" else results["detection"][name]
    return 0.0 if value is None else float(value)


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
    """Box AP and AR over IoU 0.50 to 0.95 at 100 detections an image, from ``CocoAP.compute()``."""
    rows = [
        ["AP 0.50:0.95", "all", "100", share(result["AP"])],
        ["AR 0.50:0.95", "all", "100", share(result["AR"])],
    ]
    return markdown_table(["Boxes", "area", "maxDets", "value"], rows, left=2)


def panoptic_table(result: Mapping[str, Any]) -> str:
    """PQ, SQ, RQ in percent and the number of classes N, from ``PanopticQuality.compute()``."""
    rows = [
        [name, *(percent(result[name][key]) for key in ("pq", "sq", "rq")), str(result[name]["n"])]
        for name in ("All", "Things", "Stuff")
    ]
    return markdown_table(["Panoptic", "PQ", "SQ", "RQ", "N"], rows)


def per_class_table(result: Mapping[str, Any]) -> str:
    """One row per class, in the label map's order, from either metric's result."""
    panoptic = "All" in result
    rows = []
    for name, row in result["per_class"].items():
        if panoptic:
            rows.append(
                [
                    name,
                    *(percent(row[k]) for k in ("pq", "sq", "rq")),
                    *(str(row[k]) for k in ("tp", "fp", "fn")),
                ]
            )
        else:
            rows.append([name, *(share(row[k]) for k in ("AP", "AP50", "AR")), str(row["objects"])])
    header = (
        ["Class", "PQ", "SQ", "RQ", "TP", "FP", "FN"]
        if panoptic
        else ["Class", "AP", "AP50", "AR", "objects"]
    )
    return markdown_table(header, rows)


def share(value: float | None) -> str:
    """A share from 0 to 1 with three digits; a dash for None."""
    return NONE if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share from 0 to 1 in percent; a dash for None."""
    return NONE if value is None else f"{100 * value:.1f}"
