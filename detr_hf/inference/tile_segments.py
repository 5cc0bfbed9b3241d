"""Id maps of many tiles as one id map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.inference.tiles import Window, groups, is_cut, matched, overlaps
from detr_hf.labels import LabelMap
from detr_hf.modeling.panoptic_merge import TINY_SEGMENT_PX
from detr_hf.modeling.predictions import PanopticPrediction, Segment


class _Tile:
    """The segments of one tile, numbered on from those of the tiles before: ``first`` to ``first + S - 1``.

    ``ids [h, w]`` holds these numbers, and -1 where nothing was found.
    """

    def __init__(self, found: PanopticPrediction, window: Window, first: int) -> None:
        self.window, self.first, self.segments = window, first, found.segments
        lookup = np.full(1 + max((segment.id for segment in found.segments), default=0), -1, np.int64)
        lookup[[segment.id for segment in found.segments]] = first + np.arange(len(found.segments))
        self.ids = lookup[found.id_map]

    def part(self, window: Window) -> NDArray[np.int64]:
        """The ids inside another window, which lies in this one."""
        left, top = self.window[:2]
        return self.ids[window[1] - top : window[3] - top, window[0] - left : window[2] - left]

    def cut(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Which segments reach an edge of the tile inside the picture."""
        boxes, _ = boxes_and_areas_of_segments(self.ids, self.first + np.arange(len(self.segments)))
        left, top = self.window[:2]
        return is_cut(boxes + np.array([left, top, left, top], np.float32), self.window, size_hw)


def stitched(
    found: Sequence[PanopticPrediction],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    labels: LabelMap,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """One id map: stuff of one class is one segment, things that agree where tiles overlap are one.

    Tiles meet in the middle of their overlap; a thing that one of them holds whole is taken from there.

    Args:
        found: one prediction a tile.
        windows: the tiles.
        size_hw: of the picture.
        labels: tell things from stuff.

    Returns:
        The id map ``int32 [H, W]`` and its segments, numbered from 1.
    """
    tiles, first = [], 0
    for one, window in zip(found, windows, strict=True):
        tiles.append(_Tile(one, window, first))
        first += len(one.segments)
    segments = [segment for tile in tiles for segment in tile.segments]
    thing = np.array([labels.is_thing(segment.category_id) for segment in segments], bool)
    classes = np.array([segment.category_id for segment in segments], np.int64)
    pairs = [*_same_stuff(classes, thing), *_same_things(tiles, classes, thing)]
    group = groups(len(segments), pairs)
    scores = np.array([segment.score for segment in segments], np.float32)
    whole = ~np.concatenate([tile.cut(size_hw) for tile in tiles]) & thing
    canvas = _painted(tiles, size_hw, group, np.where(whole, scores, -1.0))
    return _numbered(canvas, group, classes, scores)


def _same_stuff(classes: NDArray[np.int64], thing: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    for label in np.unique(classes[~thing]):
        first, *others = np.flatnonzero(classes == label).tolist()
        yield from ((first, other) for other in others)


def _same_things(
    tiles: Sequence[_Tile], classes: NDArray[np.int64], thing: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Pairs of things, one of each of two tiles, whose masks agree in what both tiles see."""
    for a, b, shared in overlaps([tile.window for tile in tiles]):
        first, second = tiles[a], tiles[b]
        rows, columns = (tile.first + np.arange(len(tile.segments)) for tile in (first, second))
        iou = _mask_iou(first.part(shared) - first.first, second.part(shared) - second.first, rows, columns)
        iou *= thing[rows][:, None]
        pairs = matched(iou, (classes[rows], classes[columns]), (thing[rows], thing[columns]))
        yield from ((int(rows[row]), int(columns[column])) for row, column in pairs)


def _mask_iou(
    a: NDArray[np.int64], b: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """IoU of every segment of one map with every one of another of the same size; below 0 is nothing."""
    a, b = np.maximum(a, -1) + 1, np.maximum(b, -1) + 1
    shape = (len(rows) + 1, len(columns) + 1)
    joint = np.bincount((a * shape[1] + b).ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    union = joint.sum(1)[:, None] + joint.sum(0)[None, :] - joint
    return (joint / np.maximum(union, 1)).astype(np.float32)[1:, 1:]


def _painted(
    tiles: Sequence[_Tile], size_hw: tuple[int, int], group: NDArray[np.int32], whole_score: NDArray
) -> NDArray[np.int64]:
    """Groups by pixel, -1 = none: every tile up to the middle of its overlaps, then the whole things."""
    canvas = np.full(size_hw, -1, np.int64)
    group_or_none = np.append(group, -1)  # index -1 is none
    for tile, (left, top, right, bottom) in zip(tiles, _territories([t.window for t in tiles]), strict=True):
        canvas[top:bottom, left:right] = group_or_none[tile.part((left, top, right, bottom))]
    for tile in tiles:
        numbers = tile.first + np.arange(len(tile.segments))
        chosen = [
            n
            for n in numbers
            if whole_score[n] >= 0 and whole_score[n] == whole_score[group == group[n]].max()
        ]
        if chosen:
            left, top, right, bottom = tile.window
            mine = np.isin(tile.ids, chosen)
            canvas[top:bottom, left:right][mine] = group_or_none[tile.ids][mine]
    return canvas


def _territories(windows: Sequence[Window]) -> list[Window]:
    """Each tile up to the middle of what it shares with its neighbors; together they cover the picture."""
    columns = _middles({(left, right) for left, _, right, _ in windows})
    rows = _middles({(top, bottom) for _, top, _, bottom in windows})
    return [
        (columns[left, right][0], rows[top, bottom][0], columns[left, right][1], rows[top, bottom][1])
        for left, top, right, bottom in windows
    ]


def _middles(spans: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    ordered = sorted(spans)
    borders = [(one[1] + following[0]) // 2 for one, following in pairwise(ordered)]
    starts, stops = [ordered[0][0], *borders], [*borders, ordered[-1][1]]
    return dict(zip(ordered, zip(starts, stops, strict=True), strict=True))


def _numbered(
    canvas: NDArray[np.int64],
    group: NDArray[np.int32],
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.int32], list[Segment]]:
    """Groups numbered from 1; those of next to no pixels become void."""
    count = int(group.max()) + 1 if len(group) else 0
    areas = np.bincount(canvas.ravel() + 1, minlength=count + 1)[1:]
    kept = np.flatnonzero(areas > TINY_SEGMENT_PX)
    new_id = np.zeros(count + 1, np.int32)
    new_id[kept + 1] = np.arange(1, len(kept) + 1)
    segments = []
    for number, one in enumerate(kept.tolist(), start=1):
        members = np.flatnonzero(group == one)
        best = members[np.argmax(scores[members])]
        segments.append(Segment(number, int(classes[best]), float(scores[best])))
    return new_id[canvas + 1], segments
