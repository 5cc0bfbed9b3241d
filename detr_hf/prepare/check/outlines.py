"""Polygons and run-length masks of COCO annotations: what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from detr_hf.data.run_lengths import runs_of_text
from detr_hf.prepare.findings import Fault
from detr_hf.prepare.rows import SLACK_PX, is_box

LEAST_NUMBERS = 6  # of a polygon: three points


def outline_faults(segmentation: Any, size_hw: tuple[int, int]) -> Iterator[Fault]:
    """Faults of one object's `segmentation`: a list of polygons, a run-length mask, or nothing."""
    if isinstance(segmentation, dict):
        if said := rle_fault(segmentation, size_hw):
            yield Fault("rle-invalid", said)
    elif isinstance(segmentation, list):
        for polygon in segmentation:
            if said := polygon_fault(polygon, size_hw):
                yield Fault("polygon-invalid", said)
    elif segmentation is not None:
        yield Fault("polygon-invalid", f"segmentation is a {type(segmentation).__name__}")


def polygon_fault(polygon: Any, size_hw: tuple[int, int]) -> str:
    """What is wrong with a polygon [x, y, x, y, ...] in an image of ``size_hw``; empty when nothing is."""
    if not _numbers(polygon):
        return "a polygon is no list of numbers"
    if len(polygon) < LEAST_NUMBERS or len(polygon) % 2:
        return f"a polygon has {len(polygon)} numbers; at least three points of two are needed"
    if not all(math.isfinite(value) for value in polygon):
        return "a polygon holds NaN or infinity"
    xs, ys = polygon[::2], polygon[1::2]
    if _area(xs, ys) == 0:
        return "a polygon has no area"
    over = max(-min(xs), -min(ys), max(xs) - size_hw[1], max(ys) - size_hw[0])
    return f"a polygon reaches {over:.1f} px out of the image" if over > SLACK_PX else ""


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


def _area(xs: list[float], ys: list[float]) -> float:
    """By the shoelace formula; the sign tells the direction."""
    following = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return sum(x * y1 - x1 * y for x, y, (x1, y1) in zip(xs, ys, following, strict=True)) / 2


def rle_fault(rle: dict[str, Any], size_hw: tuple[int, int]) -> str:
    """What is wrong with a run-length mask ``{size: [h, w], counts}``; empty when nothing is."""
    if rle.get("size") != list(size_hw):
        return f"a run-length mask has size {rle.get('size')}, the image is {list(size_hw)} (height, width)"
    counts = rle.get("counts")
    runs = runs_of_text(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return "a run-length mask has counts that are no runs"
    if sum(runs) != size_hw[0] * size_hw[1]:
        return f"a run-length mask covers {sum(runs)} of {size_hw[0] * size_hw[1]} pixels"
    return ""


def bounds_of_polygons(segmentation: Any) -> tuple[float, float, float, float] | None:
    """The xywh box of all sound polygons of an object, or None where there is none."""
    sound = [
        polygon
        for polygon in (segmentation if isinstance(segmentation, list) else [])
        if _numbers(polygon) and len(polygon) >= LEAST_NUMBERS and all(map(math.isfinite, polygon))
    ]
    if not sound:
        return None
    xs = [x for polygon in sound for x in polygon[::2]]
    ys = [y for polygon in sound for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def box_disagrees(bbox: Any, segmentation: Any) -> bool:
    """Whether an xywh box is not that of its polygons, by over two pixels and a twentieth of its size."""
    bounds = bounds_of_polygons(segmentation)
    if bounds is None or not is_box(bbox) or not all(map(math.isfinite, bbox)):
        return False
    (x, y, w, h), (px, py, pw, ph) = bbox, bounds
    slack_x, slack_y = max(2.0, abs(w) / 20), max(2.0, abs(h) / 20)
    return (
        max(abs(x - px), abs(x + w - px - pw)) > slack_x or max(abs(y - py), abs(y + h - py - ph)) > slack_y
    )
