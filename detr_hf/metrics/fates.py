"""What became of every true object, which errors detections make, and the AP that mending each would give.

Source: Bolya et al. 2020 (TIDE: A General Toolbox for Identifying Object Detection Errors), section 2: kinds
of errors, their IoU thresholds and the oracles that mend them. The fate of an object is that seen from the
truth, with one detection for one object, as a query finds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.matching import LEAST_IOU, box_ious, chosen, match

SEEN_SCORE = 0.1  # from which an unsure detection of another class says what an object looks like
BACKGROUND_IOU = 0.1  # TIDE's t_b; below it a box is on nothing. Its t_f is LEAST_IOU.

OBJECT_FATES = ("found", "wrong class", "badly placed", "unsure", "missed")
FOUND, WRONG_CLASS, BADLY_PLACED, UNSURE, MISSED = range(5)
ERRORS = ("wrong class", "badly placed", "both", "duplicate", "background")
"""Of detections, TIDE's Cls, Loc, Both, Dupe and Bkg; its Miss is an error of the truth."""


def object_fates(image: ImageBoxes, score_threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fate of each true box of an image, ``int64 [G]`` into ``OBJECT_FATES``; -1 for crowds.

    A detection serves one object, the surest first: those above the threshold as found (IoU 0.5, right
    class), then as wrong class (IoU 0.5), then as badly placed (IoU 0.1, right class); those below it as
    unsure (IoU 0.5, right class). What is left is missed.

    Returns:
        The fates, and ``int64 [G]`` the class of the detection that served the object; of one that is missed,
        that of a detection below the threshold in its place (IoU 0.5, score 0.1); -1 for none.
    """
    crowd = image.truth_crowd
    fates, taken_for = np.where(crowd, -1, MISSED), np.full(len(crowd), -1, np.int64)
    is_free, is_open, sure = np.ones(len(image.scores), bool), ~crowd, image.scores > score_threshold
    for fate, among, same_class, least_iou in (
        (FOUND, sure, True, LEAST_IOU),
        (WRONG_CLASS, sure, False, LEAST_IOU),
        (BADLY_PLACED, sure, True, BACKGROUND_IOU),
        (UNSURE, ~sure, True, LEAST_IOU),
        (MISSED, ~sure & (image.scores > SEEN_SCORE), False, LEAST_IOU),
    ):
        keep, true = among & is_free, is_open | crowd
        found = match(chosen(image, keep, true), same_class, least_iou)
        detections = np.flatnonzero(keep)[found.order]
        is_free[detections[found.truth >= 0]] = False
        detections, objects = detections[found.hit], np.flatnonzero(true)[found.truth[found.hit]]
        is_open[objects], fates[objects], taken_for[objects] = False, fate, image.labels[detections]
    return fates, taken_for


@dataclass(frozen=True)
class Detections:
    """Detections that found no crowd, the surest of an image first.

    Attributes:
        labels, scores: ``[D]``.
        errors: ``int64 [D]`` into ``ERRORS``; -1 where the detection found an object.
        mended_labels: ``int64 [D]`` class with which the detection would find an object if its error were
            mended; -1 where it is gone then. Of several at one object the surest is mended.
        missed: ``int64 [M]`` classes of objects that no mended detection would find.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    errors: NDArray[np.int64]
    mended_labels: NDArray[np.int64]
    missed: NDArray[np.int64]


def detection_errors(image: ImageBoxes) -> Detections:
    """TIDE's kind of each false detection of an image."""
    found, single = match(image), ~image.truth_crowd
    labels, truth = image.labels[found.order], image.truth_labels[single]
    used = np.isin(np.flatnonzero(single), found.truth[found.hit])
    # a column of zeros, so that there is a maximum where there is no object
    iou = box_ious(image.boxes[found.order], image.truth_boxes[single], np.zeros(len(truth), bool))
    iou = np.pad(iou, ((0, 0), (0, 1)))
    same = np.pad(labels[:, None] == truth, ((0, 0), (0, 1)))
    of_class, of_others = np.where(same, iou, 0), np.where(same, 0, iou)
    of_used = np.where(np.append(used, False), of_class, 0)
    placed, nearest = of_class.max(1), iou.max(1)
    kinds = (
        of_others.max(1) >= LEAST_IOU,
        (placed >= BACKGROUND_IOU) & (placed <= LEAST_IOU),
        (nearest > BACKGROUND_IOU),
        of_used.max(1) >= LEAST_IOU,
        nearest <= BACKGROUND_IOU,
    )
    order = (1, 0, 3, 4, 2)  # in which TIDE asks; what is left is both
    errors = np.select([found.hit, *(kinds[kind] for kind in order)], [-1, *order])
    target = np.where(errors == 1, of_class.argmax(1), of_others.argmax(1))
    mends = (errors >= 0) & (errors <= 1) & ~np.append(used, True)[target]
    rows = np.flatnonzero(mends & ~found.ignored)
    objects, first = np.unique(target[rows], return_index=True)
    mended = np.full(len(labels), -1, np.int64)
    mended[rows[first]] = truth[objects]
    missed = np.delete(truth, np.union1d(np.flatnonzero(used), objects))
    kept = ~found.ignored
    return Detections(labels[kept], found.scores[kept], errors[kept], mended[kept], missed)


def mended_ap(entries: Sequence[ImageEntry], num_classes: int) -> dict[str, NDArray[np.float64]]:
    """AP at IoU 0.5 of every class ``[C]`` as it is ("AP50"), and with one kind of error mended.

    As TIDE's oracles do it, "wrong class" gives the detection the class of the object, "badly placed" its
    box, "both", "duplicate" and "background" take it away, and "missed" takes the objects away; a class that
    has none left then has 1. Scores count all, without a threshold. NaN for a class without objects.
    """
    each = [detection_errors(entry.content) for entry in entries]
    columns = ("labels", "scores", "errors", "mended_labels", "missed")
    labels, scores, errors, mended, missed = (
        np.concatenate([getattr(one, name) for one in each]) for name in columns
    )
    truth = np.concatenate([entry.content.truth_labels[~entry.content.truth_crowd] for entry in entries])
    objects = np.bincount(truth, minlength=num_classes)
    result = {"AP50": _class_aps(labels, scores, errors < 0, objects)}
    for kind, name in enumerate(ERRORS):
        is_it = errors == kind
        keep = ~is_it | (mended >= 0)
        new_labels = np.where(is_it, mended, labels)
        right = (errors < 0) | is_it
        result[name] = _class_aps(new_labels[keep], scores[keep], right[keep], objects)
    left = objects - np.bincount(missed, minlength=num_classes)
    result["missed"] = _class_aps(labels, scores, errors < 0, left)
    result["missed"][(objects > 0) & (left == 0)] = 1.0
    return result


def _class_aps(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    objects: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Precision at 101 recalls, mean, by class, as COCO has it; NaN for a class without objects."""
    aps = np.full(len(objects), np.nan)
    order = np.argsort(-scores, kind="stable")
    labels, right = labels[order], right[order]
    for label in np.flatnonzero(objects):
        hits = np.cumsum(right[labels == label])
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        at = np.searchsorted(hits / objects[label], np.arange(101) / 100, side="left")
        aps[label] = np.append(precision, np.zeros(1))[at].mean()
    return aps
