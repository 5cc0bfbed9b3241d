"""What overlapping tiles of one image found, as one prediction in which nothing is counted twice.

In the part that two tiles see, one object looks the same in both. So two detections of one class are one
object when they agree there, be they whole or cut by the edge of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from detr_hf.geometry import Window, box_areas_xyxy, boxes_and_areas_of_segments, pairwise_iou
from detr_hf.labels import LabelMap
from detr_hf.modeling.panoptic_merge import TINY_SEGMENT_PX
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment

SAME = 0.5
"""Two detections that agree in their tiles' overlap by this IoU are one object."""

OTHER_CLASS = 0.7
"""What the IoU of two things of different classes counts: a piece of one is easily taken for another."""

AT_EDGE = 0.02
"""Nearer to a tile's inner edge than this share of its side, a box counts as cut."""

INSIDE = 0.7
"""A cut thing that lies in another tile's whole thing by this share is a part of it."""

AS_SURE = 0.5
"""A detection below this share of another's score neither replaces nor removes it: where all that is ranked
counts, as for AP, most have hardly any score."""

BLOCK = 256
"""So many pieces are held against all whole boxes at once."""


# ---- boxes


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
        size_hw: of the image.
        image_id: of the result.
        labels: tell things from stuff.
    """
    in_image = [one.boxes_xyxy_px + _corner(window) for one, window in zip(tiles, windows, strict=True)]
    cut = np.concatenate([_is_cut(part, at, size_hw) for part, at in zip(in_image, windows, strict=True)])
    found = Detections(
        image_id,
        np.concatenate(in_image),
        np.concatenate([one.scores for one in tiles]),
        np.concatenate([one.labels for one in tiles]),
    )
    numbers, pairs = _numbered([len(part) for part in in_image]), []
    for a, b, shared in _overlaps(windows):
        low, high = np.array(shared[:2] * 2, np.float32), np.array(shared[2:] * 2, np.float32)
        first, second = (torch.from_numpy(in_image[tile].clip(low, high)) for tile in (a, b))
        iou = pairwise_iou(first, second).numpy()
        pairs += _matched(iou, numbers[a], numbers[b], found.labels, found.scores, labels)
    groups = _groups(len(cut), pairs)
    merged = [_one_object(found, members, cut) for members in groups]
    objects = Detections(
        image_id,
        np.array([box for box, _, _ in merged], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in merged], np.float32),
        np.array([label for _, _, label in merged], np.int64),
    )
    only_cut = np.array([len(members) == 1 and cut[members[0]] for members in groups], bool)
    order = np.argsort(-objects.scores, kind="stable")
    return _chosen(objects, order[~_are_pieces(objects, only_cut, labels)[order]])


def _one_object(
    found: Detections, members: NDArray[np.int64], cut: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float, int]:
    """Box, score and class of what several detections are."""
    members = members[found.scores[members] >= AS_SURE * found.scores[members].max()]
    whole = members[~cut[members]]
    trusted = whole if len(whole) else members
    best = trusted[np.argmax(found.scores[trusted])]
    parts = found.boxes_xyxy_px[[best] if len(whole) else members]
    box = np.concatenate([parts[:, :2].min(0), parts[:, 2:].max(0)])
    return box, found.scores[members].max(), found.labels[best]


def _chosen(found: Detections, which: NDArray[np.int64]) -> Detections:
    return Detections(found.image_id, found.boxes_xyxy_px[which], found.scores[which], found.labels[which])


def _are_pieces(found: Detections, cut: NDArray[np.bool_], labels: LabelMap) -> NDArray[np.bool_]:
    """Which cut things lie mostly inside one that is not cut, of whatever class: parts seen as something."""
    boxes, thing = found.boxes_xyxy_px, np.isin(found.labels, labels.thing_ids)
    pieces, wholes = np.flatnonzero(cut & thing), np.flatnonzero(~cut & thing)
    areas, result = box_areas_xyxy(boxes), np.zeros(len(boxes), bool)
    for start in range(0, len(pieces), BLOCK):  # all at once they would fill the memory
        some = pieces[start : start + BLOCK]
        mine, others = boxes[some, None], boxes[wholes]
        sides = np.minimum(mine[..., 2:], others[:, 2:]) - np.maximum(mine[..., :2], others[:, :2])
        inside = sides.clip(min=0).prod(-1) >= INSIDE * areas[some, None]
        inside &= found.scores[wholes] >= AS_SURE * found.scores[some, None]
        result[some] = inside.any(1)
    return result


# ---- segments


def merged_segments(
    tiles: Sequence[PanopticPrediction],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    labels: LabelMap,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """One id map: stuff of one class is one segment, things that agree where tiles overlap are one.

    Tiles meet in the middle of their overlap; a thing that one of them holds whole is taken from there.

    Args:
        tiles: one prediction a tile.
        windows: the tiles.
        size_hw: of the image.
        labels: tell things from stuff.

    Returns:
        The id map ``int32 [H, W]`` and its segments, numbered from 1.
    """
    segments = [segment for one in tiles for segment in one.segments]
    classes = np.array([segment.category_id for segment in segments], np.int64)
    scores = np.array([segment.score for segment in segments], np.float32)
    numbers = _numbered([len(one.segments) for one in tiles])
    maps = [_with_numbers(one, its) for one, its in zip(tiles, numbers, strict=True)]
    same_stuff = [np.flatnonzero(classes == label).tolist() for label in labels.stuff_ids]
    pairs = [pair for finds_of_class in same_stuff for pair in pairwise(finds_of_class)]
    for a, b, shared in _overlaps(windows):
        first, second = (_part(maps[tile], windows[tile], shared) for tile in (a, b))
        iou = _mask_iou(first, second, numbers[a], numbers[b])
        pairs += _matched(iou, numbers[a], numbers[b], classes, scores, labels)
    cut = [
        _is_cut(boxes_and_areas_of_segments(ids, its)[0] + _corner(window), window, size_hw)
        for ids, its, window in zip(maps, numbers, windows, strict=True)
    ]
    whole_score = np.where(np.isin(classes, labels.thing_ids) & ~np.concatenate(cut), scores, -1)
    groups = _groups(len(segments), pairs)
    group_of = np.full(len(segments) + 1, -1)  # of index -1, which is nothing: -1 again
    preferred: list[int] = []
    for number, members in enumerate(groups):
        group_of[members] = number
        best = whole_score[members].max()
        preferred += members[(whole_score[members] == best) & (best >= 0)].tolist()
    canvas = _painted(maps, windows, size_hw, group_of, preferred)
    areas = np.bincount(canvas.ravel() + 1, minlength=len(groups) + 1)[1:]
    kept = np.flatnonzero(areas > TINY_SEGMENT_PX).tolist()  # those of next to no pixels become void
    new_id = np.zeros(len(groups) + 1, np.int32)
    new_id[kept] = np.arange(1, len(kept) + 1)
    best = [groups[number][np.argmax(scores[groups[number]])] for number in kept]
    found = [Segment(id_, int(classes[number]), float(scores[number])) for id_, number in enumerate(best, 1)]
    return new_id[canvas], found


def _with_numbers(found: PanopticPrediction, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """A tile's id map with its segments numbered among those of all tiles, and -1 where nothing is."""
    number_of = np.full(1 + max((segment.id for segment in found.segments), default=0), -1, np.int64)
    number_of[[segment.id for segment in found.segments]] = numbers
    return number_of[found.id_map]


def _mask_iou(
    a: NDArray[np.int64], b: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """IoU of the segments ``rows`` of one map with the ``columns`` of another of its size."""
    a = np.where(a < 0, 0, 1 + np.searchsorted(rows, a))  # from 1 on, 0 is nothing
    b = np.where(b < 0, 0, 1 + np.searchsorted(columns, b))
    shape = (len(rows) + 1, len(columns) + 1)
    joint = np.bincount((a * shape[1] + b).ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    union = joint.sum(1)[:, None] + joint.sum(0)[None, :] - joint
    return (joint / np.maximum(union, 1)).astype(np.float32)[1:, 1:]


def _painted(
    maps: Sequence[NDArray[np.int64]],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    group_of: NDArray[np.int64],
    preferred: Sequence[int],
) -> NDArray[np.int64]:
    """Groups by pixel, -1 = none: every tile up to the middle of its overlaps, then what is preferred."""
    canvas = np.full(size_hw, -1, np.int64)
    for ids, window, own in zip(maps, windows, _territories(windows), strict=True):
        _part(canvas, (0, 0, 0, 0), own)[:] = group_of[_part(ids, window, own)]
    for ids, window in zip(maps, windows, strict=True):
        mine = np.isin(ids, preferred)
        _part(canvas, (0, 0, 0, 0), window)[mine] = group_of[ids[mine]]
    return canvas


def _part(ids: NDArray[np.int64], window: Window, part: Window) -> NDArray[np.int64]:
    """A view of what a map of ``window`` holds in ``part`` of it."""
    left, top = window[:2]
    return ids[part[1] - top : part[3] - top, part[0] - left : part[2] - left]


def _territories(windows: Sequence[Window]) -> list[Window]:
    """Each tile up to the middle of what it shares with its neighbors; together they cover the image."""
    columns = _middles({(left, right) for left, _, right, _ in windows})
    rows = _middles({(top, bottom) for _, top, _, bottom in windows})
    return [
        (columns[left, right][0], rows[top, bottom][0], columns[left, right][1], rows[top, bottom][1])
        for left, top, right, bottom in windows
    ]


def _middles(spans: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    ordered = sorted(spans)
    borders = [(one[1] + following[0]) // 2 for one, following in pairwise(ordered)]
    return dict(zip(ordered, pairwise([ordered[0][0], *borders, ordered[-1][1]]), strict=True))


# ---- both


def _corner(window: Window) -> NDArray[np.float32]:
    return np.array(window[:2] * 2, np.float32)


def _numbered(counts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Of each tile the numbers of its detections among those of all tiles."""
    return np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])


def _overlaps(windows: Sequence[Window]) -> Iterator[tuple[int, int, Window]]:
    """Each pair of tiles that share pixels, with what they share."""
    for (a, first), (b, second) in combinations(enumerate(windows), 2):
        left, top = max(first[0], second[0]), max(first[1], second[1])
        right, bottom = min(first[2], second[2]), min(first[3], second[3])
        if left < right and top < bottom:
            yield a, b, (left, top, right, bottom)


def _is_cut(boxes: NDArray[np.float32], window: Window, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes ``[N, 4]`` of a tile reach an edge of it that is no edge of the image."""
    left, top, right, bottom = window
    margin = np.array([right - left, bottom - top] * 2) * AT_EDGE
    inner = np.array([left > 0, top > 0, right < size_hw[1], bottom < size_hw[0]])
    return ((np.abs(boxes - np.array(window)) <= margin) & inner).any(1)


def _matched(
    iou: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
    labels: LabelMap,
) -> list[tuple[int, int]]:
    """One-to-one pairs of detections of two tiles that are one object, sure ones first.

    Args:
        iou: ``[N, M]`` in what both tiles see.
        rows, columns: numbers of the detections among those of all tiles.
        classes: ids, of all detections.
        scores: of all detections, 0 to 1.
        labels: tell things from stuff.
    """
    thing = np.isin(classes, labels.thing_ids)
    same = classes[rows][:, None] == classes[columns]
    both_things = thing[rows][:, None] & thing[columns]
    agreement = iou * np.where(same, 1, np.where(both_things, OTHER_CLASS, 0))
    agreement[agreement < SAME] = 0
    # by score as well, or an unsure box that fits by chance takes the place of a sure one
    weights = agreement * np.minimum(scores[rows][:, None], scores[columns])
    pairs = zip(*linear_sum_assignment(weights, maximize=True), strict=True)
    return [(rows[i], columns[j]) for i, j in pairs if agreement[i, j] > 0]


def _groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[NDArray[np.int64]]:
    """Which of ``count`` detections are one object, given pairs that are."""
    if count == 0:
        return []
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
