"""Matching of two id maps of one image, as counts per class.

The rules are those of ``panopticapi.evaluation.pq_compute_single_core``:

* a ground-truth and a predicted segment of one class match when their IoU is above 0.5, where the union
  leaves out the predicted segment's pixels that are void in the ground truth;
* crowd segments are matched by nothing and are never missed;
* an unmatched predicted segment is no false positive when more than half of it lies on void and on the
  crowd of its class; of several crowds of one class only the last one listed counts for this;
* a ground-truth segment without a pixel is missed.

Areas are counted from the pixels of the id maps, never taken from annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import UserError

SEGMENT_FATES = ("found", "wrong class", "merged", "split", "badly placed", "void", "missed")
"""What becomes of a true segment; see ``lost_segments``."""

FOUND, WRONG_CLASS, MERGED, SPLIT, BADLY_PLACED, VOID, MISSED = range(7)


@dataclass(frozen=True)
class PanopticRow:
    """One id map with N segments.

    Attributes:
        id_map: integers ``[H, W]``, 0 is void.
        ids, classes, crowd: ``[N]`` id, class id and whether it is a crowd, per segment.
        slots: ``int64 [H * W]``, for every pixel 1 + the index of its segment in the list, or 0 for void.
        areas: ``int64 [N]`` pixels of every segment.
    """

    id_map: NDArray[np.integer]
    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    slots: NDArray[np.int64]
    areas: NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """Matches of K classes.

    Attributes:
        classes: ``int64 [K]`` class ids; of one image only those that occur, in a sum all C.
        counts: ``int64 [K, 3]`` true positives, false positives, false negatives.
        iou: ``float64 [K]`` sum of the IoUs of the true positives.
        lost: ``int64 [L, 3]`` of the true segments of one image that were not found: class, fate, and the
            class that has most of it, -1 for none. None in a sum, and where it is not known.
    """

    classes: NDArray[np.int64]
    counts: NDArray[np.int64]
    iou: NDArray[np.float64]
    lost: NDArray[np.int64] | None = None


def read_row(row: Mapping[str, Any], what: str) -> PanopticRow:
    """Check one row (``id_map``, ``segments``); ``what`` begins the messages.

    Raises:
        UserError: the map is not integers [H, W], ids are repeated or below 1, or the map holds an id that no
            segment has.
    """
    id_map = np.asarray(row["id_map"])
    if id_map.ndim != 2 or not np.issubdtype(id_map.dtype, np.integer):
        raise UserError(f"{what}: an id map is integers [H, W], this is {id_map.dtype} {list(id_map.shape)}")
    segments = row["segments"]
    ids = np.array([segment["id"] for segment in segments], np.int64)
    classes = np.array([segment["category_id"] for segment in segments], np.int64)
    crowd = np.array([segment.get("iscrowd", False) for segment in segments], np.bool_)
    if len(np.unique(ids)) < len(ids) or (ids < 1).any():
        raise UserError(
            f"{what}: segment ids must be unique and at least 1 (0 is void), these are {ids.tolist()}"
        )
    slots = _slots(id_map, ids, what)
    areas = np.bincount(slots, minlength=1 + len(ids))[1:]
    return PanopticRow(id_map, ids, classes, crowd, slots, areas)


def _slots(id_map: NDArray[np.integer], ids: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """``PanopticRow.slots``; raises ``UserError`` for ids in the map that are not listed."""
    pixels, known = id_map.ravel(), np.append(0, ids)
    order = np.argsort(known)
    ranks = np.minimum(np.searchsorted(known[order], pixels), len(known) - 1)
    unlisted = np.unique(pixels[known[order][ranks] != pixels])
    if len(unlisted):
        raise UserError(f"{what}: the id map holds ids that no segment has: {unlisted[:10].tolist()}")
    return order[ranks]


def overlap_table(truth: PanopticRow, found: PanopticRow) -> NDArray[np.int64]:
    """Shared pixels of every pair of segments ``[1 + G, 1 + P]``; row 0 and column 0 are void."""
    shape = (1 + len(truth.ids), 1 + len(found.ids))
    return np.bincount(truth.slots * shape[1] + found.slots, minlength=shape[0] * shape[1]).reshape(shape)


def count_image(truth: PanopticRow, found: PanopticRow) -> ClassCounts:
    """Match the segments of one image by the rules above."""
    overlap = overlap_table(truth, found)
    on_void, shared = overlap[0, 1:], overlap[1:, 1:]
    union = truth.areas[:, None] + found.areas - shared - on_void
    iou = shared / np.maximum(union, 1)  # union is 0 where a truth without a pixel meets a guess all on void
    matched = (iou > 0.5) & (truth.classes[:, None] == found.classes) & ~truth.crowd[:, None]
    ignored = on_void + _on_last_crowd(truth, found, shared) > 0.5 * found.areas
    hit = matched.any(1)
    hit_iou = np.where(matched, iou, 0).sum(1)[hit]  # an IoU above 0.5 leaves room for one match in a row
    extra = found.classes[~matched.any(0) & ~ignored]
    missed = ~hit & ~truth.crowd
    counts = _by_class(truth.classes[hit], hit_iou, extra, truth.classes[missed])
    return replace(counts, lost=lost_segments(truth, found, overlap, np.flatnonzero(missed), iou))


def lost_segments(
    truth: PanopticRow,
    found: PanopticRow,
    overlap: NDArray[np.int64],
    missed: NDArray[np.intp],
    iou: NDArray[np.float64],
) -> NDArray[np.int64]:
    """``ClassCounts.lost`` of the segments ``missed`` of ``truth``; the first of these that is true.

    Wrong class: a segment of another class has an IoU above 0.5 with it. Void: half of its pixels or more
    are. Merged: half or more lie in one predicted segment that holds more of something else. Split: half or
    more lie in several segments of its class. Badly placed: a tenth or more does. Else it is missed.
    """
    rows, shared = [], overlap[1:, 1:]
    for g in missed.tolist():
        label, inside = int(truth.classes[g]), shared[g] / max(int(truth.areas[g]), 1)
        of_class = inside[found.classes == label]
        most = int(inside.argmax()) if len(inside) and inside.max() > 0 else None
        alike = int(iou[g].argmax()) if most is not None else 0
        if most is not None and iou[g, alike] > 0.5:
            most, fate = alike, WRONG_CLASS
        elif overlap[1 + g, 0] >= 0.5 * truth.areas[g] > 0:
            fate = VOID
        elif (
            most is not None
            and inside[most] >= 0.5
            and overlap[1:, 1 + most].max() > overlap[1 + g, 1 + most]
        ):
            fate = MERGED
        elif of_class.sum() >= 0.5 and of_class.max() < 0.5:
            fate = SPLIT
        else:
            fate = BADLY_PLACED if of_class.sum() >= 0.1 else MISSED
        rows.append((label, fate, -1 if most is None else int(found.classes[most])))
    return np.array(rows, np.int64).reshape(-1, 3)


def _on_last_crowd(truth: PanopticRow, found: PanopticRow, shared: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every predicted segment ``[P]``, its pixels on the crowd of its class, the last one listed."""
    last_crowd = {int(truth.classes[g]): g for g in np.flatnonzero(truth.crowd)}
    pixels = np.zeros(len(found.ids), np.int64)
    for p, label in enumerate(found.classes.tolist()):
        if label in last_crowd:
            pixels[p] = shared[last_crowd[label], p]
    return pixels


def _by_class(
    hit: NDArray[np.int64], hit_iou: NDArray[np.float64], extra: NDArray[np.int64], missed: NDArray[np.int64]
) -> ClassCounts:
    """Classes ``[n]`` of matches, false positives and misses to counts of the classes that occur."""
    classes, slots = np.unique(np.concatenate([hit, extra, missed]), return_inverse=True)
    hit_at, extra_at, missed_at = np.split(slots.reshape(-1), [len(hit), len(hit) + len(extra)])
    counts = [np.bincount(at, minlength=len(classes)) for at in (hit_at, extra_at, missed_at)]
    iou = np.bincount(hit_at, weights=hit_iou, minlength=len(classes)).astype(np.float64)
    return ClassCounts(classes, np.stack(counts, axis=1), iou)


def sum_counts(images: list[ClassCounts], num_classes: int) -> ClassCounts:
    """Add the counts of images, in this order, to counts of all C classes."""
    total = ClassCounts(np.arange(num_classes), np.zeros((num_classes, 3), np.int64), np.zeros(num_classes))
    for image in images:
        total.counts[image.classes] += image.counts
        total.iou[image.classes] += image.iou
    return total
