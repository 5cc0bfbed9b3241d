"""Detections matched with true boxes as COCO does it, and what is counted from it: sweep and confusion.

Source: the greedy rule of ``pycocotools.cocoeval.COCOeval.evaluateImg``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.metrics.entries import ImageBoxes, ImageEntry

LEAST_IOU = 0.5
NO_LOSS = 0.01  # of mean F1; see `best_threshold`
THRESHOLDS = np.arange(100) / 100  # of scores; a detection counts when its score is higher


@dataclass(frozen=True)
class Matches:
    """The D detections of one image, best first.

    Attributes:
        order: ``int64 [D]`` their rows in the image.
        scores, labels: ``[D]``, as they come.
        truth: ``int64 [D]`` index of the true box that each found; -1 for none.
        iou: ``float64 [D]`` their IoU; 0 for none.
        ignored: ``bool [D]`` found a crowd: neither right nor wrong.
    """

    order: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]
    ignored: NDArray[np.bool_]

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Which found an object."""
        return (self.truth >= 0) & ~self.ignored


def match(image: ImageBoxes, same_class: bool = True, least_iou: float = LEAST_IOU) -> Matches:
    """Give each detection, the surest first, the free true box that it overlaps most, from ``least_iou`` on.

    Args:
        image: boxes and truth; crowds may be found any number of times.
        same_class: a box of another class does not count; where False it does, though a crowd's never.
        least_iou: 0.5, or less to find what is badly placed.
    """
    order = np.argsort(-image.scores, kind="stable")
    labels, crowd = image.labels[order], image.truth_crowd
    iou = box_ious(image.boxes[order], image.truth_boxes, crowd)
    same = labels[:, None] == image.truth_labels
    iou = np.where(same | ~crowd & (not same_class), iou, -1.0)
    truth, free = np.full(len(labels), -1, np.int64), ~crowd
    for row in range(len(labels)):
        for open_to in (free, crowd):
            best = _last_best(np.where(open_to, iou[row], -1.0), same[row], least_iou)
            if best is not None:
                truth[row] = best
                free[best] = False
                break
    found = truth >= 0
    overlap = iou[np.arange(len(labels)), truth] if len(crowd) else np.zeros(len(labels))
    ignored = found & (crowd[truth] if len(crowd) else False)
    return Matches(order, image.scores[order], labels, truth, np.where(found, overlap, 0.0), ignored)


def above(image: ImageBoxes, score_threshold: float, classes: Sequence[int] | None = None) -> ImageBoxes:
    """Only detections with a higher score, and only boxes (of the truth too) of these classes."""
    keep, true = image.scores > score_threshold, np.ones(len(image.truth_labels), bool)
    if classes is not None:
        keep, true = keep & np.isin(image.labels, classes), np.isin(image.truth_labels, classes)
    return chosen(image, keep, true)


def chosen(image: ImageBoxes, keep: NDArray[np.bool_], true: NDArray[np.bool_]) -> ImageBoxes:
    """Some of the detections (``keep [D]``) and of the true boxes (``true [G]``)."""
    return ImageBoxes(
        image.boxes[keep],
        image.scores[keep],
        image.labels[keep],
        image.truth_boxes[true],
        image.truth_labels[true],
        image.truth_areas[true],
        image.truth_crowd[true],
        None if image.queries is None else image.queries[keep],
    )


def sweep(matches: Sequence[Matches], objects: int, label: int | None = None) -> dict[str, Any]:
    """Precision, recall and F1 of all boxes together at each of ``THRESHOLDS``, and the best of them.

    A higher threshold takes away the last of each image's detections and changes no match of the others, so
    one matching serves all.

    Args:
        matches: of every image, within classes.
        objects: how many there are to find.
        label: count this class only.

    Returns:
        lists "threshold", "precision", "recall", "f1" (None where undefined), "best": the entry with the
        highest F1, the lowest threshold of equals; None where nothing was found.
    """
    counted = [~one.ignored & ((one.labels == label) if label is not None else True) for one in matches]
    scores = _joined([one.scores[keep] for one, keep in zip(matches, counted, strict=True)])
    hits = _joined([one.hit[keep] for one, keep in zip(matches, counted, strict=True)]).astype(bool)
    found = len(scores) - np.searchsorted(np.sort(scores), THRESHOLDS, side="right")
    right = int(hits.sum()) - np.searchsorted(np.sort(scores[hits]), THRESHOLDS, side="right")
    rows = [_rates(int(r), int(n), objects) for r, n in zip(right, found, strict=True)]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("precision", "recall", "f1")}
    best = max(range(len(rows)), key=lambda i: (rows[i]["f1"] or 0.0, -i))
    columns["threshold"] = THRESHOLDS.tolist()
    columns["best"] = {"threshold": float(THRESHOLDS[best]), **rows[best]} if rows[best]["f1"] else None
    return columns


def best_threshold(f1_of_classes: Sequence[Sequence[float | None]]) -> float | None:
    """The one score threshold for boxes of all classes: where the mean F1 over the classes is highest.

    A class counts as much as another, as in AP, or a frequent class would hide a rare one whose scores are
    lower. The curve is flat at its top, and its maximum moves with a few images: of all thresholds that lose
    less than ``NO_LOSS`` the middle one is taken.

    Args:
        f1_of_classes: "f1" of ``sweep``, of every class that has objects.

    Returns:
        One of ``THRESHOLDS``; None where nothing was found.
    """
    curves = [[value or 0.0 for value in curve] for curve in f1_of_classes]
    mean = np.mean(curves, axis=0) if curves else np.zeros(1)
    if not mean.max() > 0:
        return None
    good = np.flatnonzero((mean > 0) & (mean > mean.max() - NO_LOSS))
    return float(THRESHOLDS[good[len(good) // 2]])


def threshold_of_boxes(entries: Sequence[ImageEntry], objects: NDArray[np.int64]) -> float | None:
    """``best_threshold`` of the boxes of an evaluation.

    Args:
        entries: with ``ImageBoxes``.
        objects: ``int64 [C]``, how many each class has to find.
    """
    matches = [match(entry.content) for entry in entries]
    seen = np.flatnonzero(objects).tolist()
    return best_threshold([sweep(matches, int(objects[label]), label)["f1"] for label in seen])


def confusion(
    entries: Sequence[ImageEntry], things: Sequence[int], score_threshold: float
) -> NDArray[np.int64]:
    """How often a thing of one class was taken for another.

    Boxes are matched whatever their class, so that a mistaken class shows as one; only things take part.

    Returns:
        ``[T + 1, T + 1]`` counts: rows truth, columns prediction, in the order of ``things``; the last row
        counts boxes found on nothing, the last column objects not found.
    """
    place = {label: at for at, label in enumerate(things)}
    table = np.zeros((len(things) + 1, len(things) + 1), np.int64)
    for entry in entries:
        image = above(entry.content, score_threshold, things)
        matches = match(image, same_class=False)
        true = [place[label] for label in image.truth_labels.tolist()]
        columns = (matches.labels.tolist(), matches.truth.tolist(), matches.ignored.tolist())
        for label, at, ignored in zip(*columns, strict=True):
            if not ignored:
                table[true[at] if at >= 0 else -1, place[label]] += 1
        missed = set(np.flatnonzero(~image.truth_crowd).tolist()) - set(matches.truth.tolist())
        for at in missed:
            table[true[at], -1] += 1
    return table


def box_ious(
    boxes: NDArray[np.float64], truth: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``[D, G]`` IoU of boxes as x, y, width, height; with a crowd the share of the detection inside it."""
    if not len(boxes) or not len(truth):
        return np.zeros((len(boxes), len(truth)))
    return np.asarray(coco_mask.iou(boxes, truth, crowd.astype(np.uint8)), np.float64)


def _last_best(overlap: NDArray[np.float64], same: NDArray[np.bool_], least_iou: float) -> int | None:
    """The greatest overlap from ``least_iou`` on; of equals one of the same class, then the last."""
    if not len(overlap) or overlap.max() < min(least_iou, 1 - 1e-10):
        return None
    equals = np.flatnonzero(overlap == overlap.max())
    alike = equals[same[equals]]
    return int((alike if len(alike) else equals)[-1])


def _rates(right: int, found: int, objects: int) -> dict[str, float | None]:
    return {
        "precision": right / found if found else None,
        "recall": right / objects if objects else None,
        "f1": 2 * right / (found + objects) if found + objects else None,
    }


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0)
