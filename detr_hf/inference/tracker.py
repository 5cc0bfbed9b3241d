"""The same shade for the same thing from one frame of a video to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detr_hf.geometry import boxes_and_areas_of_segments, pairwise_giou
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Segment

SAME = -0.4
"""A segment is a thing seen before if the generalized IoU of their boxes is at least this: they may lie apart
by about the width of one, for a thing moves on while it is hidden."""

REMEMBERED = 30
"""A thing may be out of sight for so many frames and keep its shade."""


@dataclass
class _Thing:
    label: int
    shade: int
    box_xyxy_px: NDArray[np.float32]
    last_seen: int


class Tracker:
    """Numbers the things of each class in the order in which they appear, and knows them again by place.

    Args:
        labels: tell things from stuff, which needs no number: a class of it is one segment.
    """

    def __init__(self, labels: LabelMap) -> None:
        self._labels = labels
        self._things: list[_Thing] = []
        self._frame = -1

    def update(self, prediction: PanopticPrediction) -> dict[int, int]:
        """For each segment of the next frame that is a thing, its number among its class."""
        self._frame += 1
        self._things = [thing for thing in self._things if self._frame - thing.last_seen <= REMEMBERED]
        segments = [one for one in prediction.segments if self._labels.is_thing(one.category_id)]
        ids = np.array([segment.id for segment in segments], np.int64)
        boxes, _ = boxes_and_areas_of_segments(prediction.id_map, ids)
        known = self._known(segments, boxes)
        shades = {}
        for at, (segment, box) in enumerate(zip(segments, boxes, strict=True)):
            thing = known.get(at) or self._new(segment.category_id, box)
            thing.box_xyxy_px, thing.last_seen = box, self._frame
            shades[segment.id] = thing.shade
        return shades

    def _known(self, segments: list[Segment], boxes: NDArray[np.float32]) -> dict[int, _Thing]:
        """Which of the segments, by index, are things seen before."""
        if not segments or not self._things:
            return {}
        before = torch.from_numpy(np.stack([thing.box_xyxy_px for thing in self._things]))
        near = pairwise_giou(torch.from_numpy(boxes), before).numpy()
        classes = np.array([thing.label for thing in self._things])
        near[np.array([segment.category_id for segment in segments])[:, None] != classes[None, :]] = -2
        rows, columns = linear_sum_assignment(near, maximize=True)
        return {
            int(row): self._things[column]
            for row, column in zip(rows, columns, strict=True)
            if near[row, column] >= SAME
        }

    def _new(self, label: int, box: NDArray[np.float32]) -> _Thing:
        taken = {thing.shade for thing in self._things if thing.label == label}
        shade = next(number for number in range(len(taken) + 1) if number not in taken)
        self._things.append(_Thing(label, shade, box, self._frame))
        return self._things[-1]
