"""What is probably wrong though it can be read: advice about an image, classes and splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.errors import quantity
from detr_hf.labels import LabelMap

TINY_PX = 2.0
SAME_IOU = 0.95  # from here on two boxes are taken for one
RARE_OBJECTS = 10  # a class with fewer is named
IMBALANCE = 100  # and so is a class that another one outnumbers by this


def validate(sample: Sample, labels: LabelMap, queries: int) -> list[Issue]:
    """Advice about one repaired image whose objects are all of the label map.

    Args:
        queries: objects that the model can find in one image.
    """
    return [Issue(code, text, sample.file_name) for code, text in _about(sample, labels, queries)]


def _about(sample: Sample, labels: LabelMap, queries: int) -> Iterator[tuple[str, str]]:
    single = [found for found in sample.objects if not found.iscrowd]
    if len(single) > queries:
        yield "too-many-objects", f"{quantity(len(single), 'object')}, {quantity(queries, 'query')}"
    for found in sample.objects:
        if found.iscrowd:
            yield "crowd", found.where
        is_thing = labels.kind(found.category or "") == "thing"
        if min(found.bbox[2:]) < TINY_PX and (is_thing or sample.id_map is None):
            yield "box-tiny", f"{found.where}: {found.bbox[2]:g}x{found.bbox[3]:g}"
    if sample.id_map is not None:
        counts = Counter(one.category for one in single if labels.kind(one.category or "") == "stuff")
        for name, count in counts.items():
            if count > 1:
                yield "segment-stuff", f"'{name}' is in {count} segments"
        return
    boxes = np.array([found.bbox for found in single], np.float64).reshape(-1, 4)
    for first, second in same_boxes(boxes):
        one, other = single[first], single[second]
        text = f"{one.where} and {other.where} at {[round(value, 1) for value in one.bbox]}"
        yield "box-twin" if one.category == other.category else "box-two-classes", text


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
            first, second = sorted((int(order[at]), int(order[at + 1 + other])))
            yield first, second


def validate_classes(
    counts: Mapping[str, Mapping[str, int]], declared: Iterable[str], fraction: float
) -> Iterator[tuple[str, Issue]]:
    """(split, issue) about classes: similar names, too few or no objects to learn from, imbalance.

    Args:
        counts: objects by class, of each split, training first.
        declared: names of all classes.
        fraction: of the images that would be held out where there is one split alone.
    """
    names = list(declared)
    first, *others = counts
    for alike in _similar(names):
        yield first, Issue("class-similar", ", ".join(f"'{name}'" for name in alike))
    most = max((counts[first].get(name, 0) for name in names), default=0)
    for name in names:
        here = counts[first].get(name, 0)
        elsewhere = sum(counts[split].get(name, 0) for split in others)
        if elsewhere and not here:
            text = f"'{name}': 0 here, {elsewhere} elsewhere"
            yield first, Issue("class-only-in-validation", text)
        if here and (here < RARE_OBJECTS or here * IMBALANCE <= most):
            text = f"'{name}': {quantity(here, 'object')}, the most frequent class has {most}"
            yield first, Issue("class-imbalance", text)
        if here and not others and here * fraction < 1:
            text = f"'{name}': {quantity(here, 'object')}, {fraction:g} of them to be held out for validation"
            yield first, Issue("class-few", text)


def _similar(names: Iterable[str]) -> Iterator[list[str]]:
    """Names that differ in case, spaces, signs or a plural alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        key = re.sub(r"[\s_\-]+", "", name.casefold())
        alike[re.sub(r"(?<=[a-z]{2})(es|s)$", "", key)].append(name)
    return (found for found in alike.values() if len(found) > 1)
