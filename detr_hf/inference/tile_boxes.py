"""Boxes of many tiles as boxes of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detr_hf.geometry import box_areas_xyxy, pairwise_iou
from detr_hf.inference.tiles import Window, groups, is_cut, matched, overlaps
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections

INSIDE = 0.7
"""A cut thing that lies in another tile's whole thing by this share is a part of it."""


@dataclass
class _Finds:
    """N finds of all tiles, in pixels of the picture; ``cut`` by an inner edge of its tile or not."""

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    thing: NDArray[np.bool_]
    scores: NDArray[np.float32]
    tile: NDArray[np.int64]
    cut: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        tiles: Sequence[Detections],
        windows: Sequence[Window],
        size_hw: tuple[int, int],
        labels: LabelMap,
    ) -> _Finds:
        corners = [np.array([left, top, left, top], np.float32) for left, top, _, _ in windows]
        shifted = [one.boxes_xyxy_px + corner for one, corner in zip(tiles, corners, strict=True)]
        cut = [is_cut(boxes, window, size_hw) for boxes, window in zip(shifted, windows, strict=True)]
        classes = np.concatenate([one.labels for one in tiles])
        return cls(
            np.concatenate(shifted),
            classes,
            np.isin(classes, labels.thing_ids),
            np.concatenate([one.scores for one in tiles]),
            np.repeat(np.arange(len(tiles)), [len(one.scores) for one in tiles]),
            np.concatenate(cut),
        )


def merged_boxes(
    tiles: Sequence[Detections],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    image_id: int,
    labels: LabelMap,
) -> Detections:
    """One box an object: a whole one if any tile has it, else what the tiles' parts span.

    Args:
        tiles: the boxes of each tile, in its own pixels.
        windows: the tiles.
        size_hw: of the picture.
        image_id: of the result.
        labels: tell things from stuff.
    """
    finds = _Finds.of(tiles, windows, size_hw, labels)
    of_tile = [np.flatnonzero(finds.tile == number) for number in range(len(windows))]
    pairs = [
        pair
        for a, b, shared in overlaps(windows)
        for pair in _same_boxes(finds, of_tile[a], of_tile[b], shared)
    ]
    group = groups(len(finds.scores), pairs)
    boxes, scores, classes, cut = [], [], [], []
    for number in np.unique(group):
        members = np.flatnonzero(group == number)
        whole = members[~finds.cut[members]]
        best = max(whole if len(whole) else members, key=lambda member: finds.scores[member])
        parts = finds.boxes[[best] if len(whole) else members]
        boxes.append([*parts[:, :2].min(0), *parts[:, 2:].max(0)])
        scores.append(finds.scores[members].max())
        classes.append(finds.classes[best])
        cut.append(not len(whole) and len(members) == 1)
    merged = Detections(
        image_id,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )
    return _kept(merged, np.flatnonzero(~_parts_of_others(merged, np.array(cut, bool), labels)))


def _kept(found: Detections, kept: NDArray[np.int64]) -> Detections:
    """Some of the detections, best first."""
    order = kept[np.argsort(-found.scores[kept], kind="stable")]
    return Detections(found.image_id, found.boxes_xyxy_px[order], found.scores[order], found.labels[order])


def _parts_of_others(found: Detections, cut: NDArray[np.bool_], labels: LabelMap) -> NDArray[np.bool_]:
    """Which cut things lie mostly inside one that is not cut, of whatever class: pieces seen as something."""
    boxes = found.boxes_xyxy_px
    thing = np.isin(found.labels, labels.thing_ids)
    wide_high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    shared = wide_high.clip(min=0).prod(-1)
    inside = shared >= INSIDE * box_areas_xyxy(boxes)[:, None]
    return cut & thing & (inside & (thing & ~cut)[None, :]).any(1)


def _same_boxes(
    finds: _Finds, a: NDArray[np.int64], b: NDArray[np.int64], shared: Window
) -> list[tuple[int, int]]:
    """Pairs of finds, one of each tile, that agree in what both tiles see."""
    low, high = np.array([shared[:2] * 2], np.float32), np.array([shared[2:] * 2], np.float32)
    first, second = (torch.from_numpy(finds.boxes[which].clip(low, high)) for which in (a, b))
    iou = pairwise_iou(first, second).numpy()
    pairs = matched(iou, (finds.classes[a], finds.classes[b]), (finds.thing[a], finds.thing[b]))
    return [(a[row], b[column]) for row, column in pairs]
