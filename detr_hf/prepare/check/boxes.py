"""Boxes of one picture beside each other: slivers, doubles, areas that cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.prepare.findings import Fault, Findings
from detr_hf.prepare.rows import clipped_box, is_box
from detr_hf.prepare.source import SourceObject

TINY_PX = 2.0
SAME_IOU = 0.95  # from here on two boxes are taken for one
AREA_SLACK = 1.02  # an area may be this much larger than its box, for rounding


def kept_boxes(
    objects: list[SourceObject], size_hw: tuple[int, int]
) -> list[tuple[SourceObject, list[float]]]:
    """Objects whose box the reader keeps, with the xywh box that it makes of it."""
    kept = []
    for known in objects:
        if is_box(known.bbox) and all(math.isfinite(value) for value in known.bbox):
            box = clipped_box(known.bbox, size_hw, "", Findings())
            if box is not None:
                kept.append((known, box))
    return kept


def box_faults(kept: list[tuple[SourceObject, list[float]]]) -> Iterator[Fault]:
    """Tiny boxes, impossible areas, and boxes that are almost one and the same."""
    for known, box in kept:
        if min(box[2:]) < TINY_PX:
            yield Fault("box-tiny", f"{known.where}: {box[2]:g}x{box[3]:g}")
        if known.area is not None and (said := area_fault(known.area, box)):
            yield Fault("area-wrong", f"{known.where}: {said}")
    single = [(known, box) for known, box in kept if not known.iscrowd]
    boxes = np.array([box for _, box in single], np.float64).reshape(-1, 4)
    for first, second in same_boxes(boxes):
        one, other = single[first][0], single[second][0]
        twin = one.category == other.category
        said = f"{one.where} and {other.where} at {[round(value, 1) for value in single[first][1]]}"
        yield Fault("box-twin" if twin else "box-two-classes", said)


def area_fault(area: Any, box: list[float]) -> str:
    """What is wrong with an object's area beside its xywh box; empty when nothing is."""
    if isinstance(area, bool) or not isinstance(area, (int, float)) or not math.isfinite(area) or area <= 0:
        return f"area {area!r} is no positive number"
    most = box[2] * box[3]
    return f"area {area:g} is more than its box, {most:g}" if area > AREA_SLACK * most + 1 else ""


def same_boxes(boxes_xywh_px: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs of boxes ``[N, 4]`` that overlap by ``SAME_IOU`` or more, without comparing all with all.

    Such boxes differ in their left edge by at most a twentieth of the width of either, so only neighbors in
    the order of left edges are compared.
    """
    order = np.argsort(boxes_xywh_px[:, 0], kind="stable")
    x, y, w, h = boxes_xywh_px[order].T
    ends = np.searchsorted(x, x + (1 - SAME_IOU) * w, side="right")
    for at, end in enumerate(ends):
        near = slice(at + 1, end)
        across = np.minimum(x[at] + w[at], x[near] + w[near]) - np.maximum(x[at], x[near])
        down = np.minimum(y[at] + h[at], y[near] + h[near]) - np.maximum(y[at], y[near])
        shared = across.clip(0) * down.clip(0)
        iou = shared / (w[at] * h[at] + w[near] * h[near] - shared)
        for other in np.flatnonzero(iou >= SAME_IOU):
            pair = sorted((int(order[at]), int(order[at + 1 + other])))
            yield pair[0], pair[1]
