"""What is known of every class of a run, gathered for ``why``: fates, sizes, training objects, mended AP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.labels import LabelMap
from detr_hf.loading.balance import SplitObjects
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.fates import ERRORS, FOUND, OBJECT_FATES, detection_errors, mended_ap, object_fates
from detr_hf.metrics.matching import above, box_ious
from detr_hf.metrics.pq_counts import MERGED, SEGMENT_FATES, WRONG_CLASS, sum_counts
from detr_hf.report.why import ClassFacts
from detr_hf.seen_sizes import LEAST_OBJECTS, NetworkInput, small_class

INSIDE_AREA = 0.9
"""Share of a box that lies in another one, from which it is inside."""

FALSE = ("duplicate", "background")  # errors of detections that have no object to stand beside


@dataclass(frozen=True)
class TrueObjects:
    """The N true objects of a split, crowds left out.

    Attributes:
        classes, fates: ``int64 [N]``; fates into ``OBJECT_FATES``.
        taken_for: ``int64 [N]`` class of the detection in its place, see ``object_fates``; -1 for none.
        inside: ``int64 [N]`` class of another stuff box that holds the object's; -1 for none.
        sides_px: ``[N]`` shorter side as the network sees it; NaN where that is not known.
    """

    classes: NDArray[np.int64]
    fates: NDArray[np.int64]
    taken_for: NDArray[np.int64]
    inside: NDArray[np.int64]
    sides_px: NDArray[np.float64]


def true_objects(
    entries: Sequence[ImageEntry],
    stuff_ids: Sequence[int],
    score_threshold: float,
    sizes_hw: Mapping[int, tuple[int, int]],
    seen: NetworkInput | None,
) -> TrueObjects:
    """What became of the objects of a split with detections above the threshold; sizes are by image id."""
    parts = []
    for entry in entries:
        image: ImageBoxes = entry.content
        fates, taken_for = object_fates(image, score_threshold)
        size_hw = np.array([sizes_hw.get(entry.image_id, (np.nan, np.nan))], np.float64)
        boxes = image.truth_boxes[:, 2:]
        sides = np.full(len(boxes), np.nan) if seen is None else seen.sides_px(boxes, size_hw)
        columns = (image.truth_labels, fates, taken_for, _inside(image, stuff_ids), sides)
        parts.append([column[~image.truth_crowd] for column in columns])
    return TrueObjects(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _inside(image: ImageBoxes, stuff_ids: Sequence[int]) -> NDArray[np.int64]:
    """For each true box of stuff, the class of other stuff whose box holds it; -1 for none."""
    labels, boxes = image.truth_labels, image.truth_boxes
    share = box_ious(boxes, boxes, np.ones(len(boxes), bool))  # of the row's box that lies in the column's
    stuff = np.isin(labels, stuff_ids)
    other = stuff[:, None] & stuff & (labels[:, None] != labels)
    share = np.pad(np.where(other, share, 0.0), ((0, 0), (0, 1)))
    return np.where(share.max(1) >= INSIDE_AREA, np.append(labels, -1)[share.argmax(1)], -1)


def facts_of_classes(
    objects: TrueObjects,
    labels: LabelMap,
    seen: NetworkInput | None,
    training: SplitObjects | None,
    score_threshold: float,
    best_thresholds: Mapping[str, float | None],
) -> dict[str, ClassFacts]:
    """``ClassFacts`` of every class by its boxes."""
    facts = {}
    apart = objects.fates[objects.inside < 0] != FOUND
    usually_lost = float(apart.mean()) if len(apart) else 0.0
    for category in labels.categories:
        mine, name = objects.classes == category.id, category.name
        fates, lost = objects.fates[mine], objects.fates[mine] != FOUND
        sides, inside = objects.sides_px[mine], _named(objects.inside[mine], labels)
        lost_inside = _named(objects.inside[mine][lost], labels)
        one = ClassFacts(
            name,
            dict(zip(OBJECT_FATES, np.bincount(fates, minlength=len(OBJECT_FATES)).tolist(), strict=True)),
            _named(objects.taken_for[mine][fates == OBJECT_FATES.index("wrong class")], labels),
            _named(objects.taken_for[mine][fates == OBJECT_FATES.index("missed")], labels),
            threshold=score_threshold,
            best_threshold=best_thresholds.get(name),
            inside=inside,
            lost_inside={
                of: max(0.0, lost_inside[of] - usually_lost * count) for of, count in inside.items()
            },
        )
        if seen is not None and len(sides) and not np.isnan(sides).any():
            one.small = small_class(name, sides, seen)
            one.lost_small = _lost_by_size(lost, sides < seen.stride)
        if training is not None:
            one.training_objects = int((training.classes == category.id).sum())
            one.training_images = training.images_of(category.id)
            one.all_training_images = training.images
        facts[name] = one
    return facts


def _lost_by_size(lost: NDArray[np.bool_], small: NDArray[np.bool_]) -> float:
    """Share of the lost objects that would not be lost if small ones were lost as rarely as larger ones."""
    if not lost.any():
        return float(small.mean())
    larger = lost[~small]
    usual = float(larger.mean()) if len(larger) >= LEAST_OBJECTS else 0.0
    return max(0.0, float(lost[small].sum() - usual * small.sum()) / float(lost.sum()))


def with_segments(
    facts: Mapping[str, ClassFacts], segments: Sequence[ImageEntry], labels: LabelMap
) -> dict[str, ClassFacts] | None:
    """The same classes by their segments; None where the results do not tell what became of those lost."""
    if any(entry.content.lost is None for entry in segments):
        return None
    total = sum_counts([entry.content for entry in segments], labels.num_classes)
    lost = np.concatenate([entry.content.lost for entry in segments])
    made = {}
    for category in labels.categories:
        mine, found = lost[lost[:, 0] == category.id], int(total.counts[category.id, 0])
        counts = np.bincount(mine[:, 1], minlength=len(SEGMENT_FATES))
        counts[0] = found
        made[category.name] = replace(
            facts[category.name],
            fates=dict(zip(SEGMENT_FATES, counts.tolist(), strict=True)),
            taken_for=_named(mine[np.isin(mine[:, 1], (WRONG_CLASS, MERGED)), 2], labels),
            seen_as=Counter(),  # this and the next are told of boxes
            lost_inside={},
            sq=float(total.iou[category.id]) / found if found else None,
        )
    return made


def sizes_seen(
    label: int,
    objects: TrueObjects,
    seen: NetworkInput | None,
    training: SplitObjects | None,
    in_training: Sequence[NetworkInput],
) -> dict[str, Any]:
    """Median shorter side of a class's objects as the network sees them, in pixels: in validation, and at the
    least and the largest size of training; and the share of those in validation narrower than a cell."""
    sides = objects.sides_px[objects.classes == label]
    known = seen is not None and len(sides) and not np.isnan(sides).any()
    at_sizes = None
    if training is not None and in_training and (mine := training.classes == label).any():
        boxes, sizes_hw = training.boxes_wh_px[mine], training.sizes_hw[mine]
        ends = (in_training[0], in_training[-1])
        at_sizes = [round(float(np.median(one.sides_px(boxes, sizes_hw))), 1) for one in ends]
    return {
        "seen_px": round(float(np.median(sides)), 1) if known else None,
        "seen_px_training": at_sizes,
        "narrower_than_cell": float((sides < seen.stride).mean()) if seen is not None and known else None,
    }


def gains_of_mending(
    entries: Sequence[ImageEntry], labels: LabelMap
) -> tuple[dict[str, float | None], dict[str, dict[str, float]]]:
    """AP50 that mending each kind of error would add: in the mean, and by class; see ``mended_ap``."""
    aps = mended_ap(entries, labels.num_classes)
    as_is = aps.pop("AP50")
    known = ~np.isnan(as_is)
    gained = {kind: ap - as_is for kind, ap in aps.items()}
    mean = {kind: float(gain[known].mean()) if known.any() else None for kind, gain in gained.items()}
    by_class = {
        category.name: {kind: float(gain[category.id]) for kind, gain in gained.items()}
        for category in labels.categories
        if known[category.id]
    }
    return {kind: gain and max(0.0, gain) for kind, gain in mean.items()}, by_class


def false_detections(
    entries: Sequence[ImageEntry], labels: LabelMap, score_threshold: float
) -> dict[str, dict[str, int]]:
    """Duplicates and boxes on nothing above the threshold, by class."""
    counts: Counter[tuple[int, int]] = Counter()
    for entry in entries:
        found = detection_errors(above(entry.content, score_threshold))
        counts.update(zip(found.labels.tolist(), found.errors.tolist(), strict=True))
    return {
        category.name: {kind: counts[category.id, ERRORS.index(kind)] for kind in FALSE}
        for category in labels.categories
    }


def _named(ids: NDArray[np.int64], labels: LabelMap) -> Counter[str]:
    return Counter(labels.names[label] for label in ids.tolist() if label >= 0)
