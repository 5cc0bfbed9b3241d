"""What a model found in one image beside what is annotated there, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.modeling.predictions import Detections, PanopticPrediction

Floats = NDArray[np.float64]
Truth = dict[str, Any]
"""``boxes_xyxy_px [G, 4]``, ``labels [G]``, ``iscrowd [G]`` of an image, as in `GroundTruth.detection`."""


@dataclass(frozen=True)
class Evidence:
    """One image with D detections and G annotations; boxes are x, y, width, height in pixels.

    Attributes:
        image_id: of the data set.
        boxes, scores, labels: ``[D, 4]``, ``[D]``, ``[D]`` of the detections, the surest first.
        truth_boxes, truth_labels, truth_crowd: ``[G, 4]``, ``[G]``, ``[G]`` of the annotations.
        iou: ``[D, G]`` of masks where both have one, else of boxes.
        truth_iou: ``[G, G]`` as before, between annotations.
        masks: run lengths of detections by their number, where a segmenter gave them.
    """

    image_id: int
    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    truth_boxes: Floats
    truth_labels: NDArray[np.int64]
    truth_crowd: NDArray[np.bool_]
    iou: Floats
    truth_iou: Floats
    masks: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def inside(self) -> Floats:
        """``[D, G]`` the share of a detection's box that lies inside an annotation's."""
        return _overlap(self.boxes, self.truth_boxes, inside=True)

    @property
    def covered(self) -> Floats:
        """``[G, G]`` the share of an annotation's box that lies inside another's; 0 with itself."""
        shares = _overlap(self.truth_boxes, self.truth_boxes, inside=True)
        return shares * (1 - np.eye(len(shares)))

    @property
    def spanned(self) -> Floats:
        """``[D, G]`` the share of an annotation's box that lies inside a detection's."""
        return _overlap(self.truth_boxes, self.boxes, inside=True).T

    @property
    def own_iou(self) -> Floats:
        """``[D, D]`` of boxes, between detections."""
        return _overlap(self.boxes, self.boxes)


def evidence_of_boxes(found: Detections, truth: Truth) -> Evidence:
    """Of a detector."""
    order = np.argsort(-found.scores, kind="stable")
    boxes: Floats = np.asarray(boxes_xyxy_to_xywh(found.boxes_xyxy_px), np.float64)[order]
    true: Floats = np.asarray(boxes_xyxy_to_xywh(truth["boxes_xyxy_px"]), np.float64).reshape(-1, 4)
    return Evidence(
        found.image_id,
        boxes,
        found.scores.astype(np.float64)[order],
        found.labels[order],
        true,
        truth["labels"],
        truth["iscrowd"],
        _overlap(boxes, true),
        _overlap(true, true),
    )


def evidence_of_segments(found: PanopticPrediction, truth: Truth, segments: Truth, merged: float) -> Evidence:
    """Of a segmenter: its segments by their masks, and by their boxes the detections that became none.

    Args:
        found: the prediction.
        truth: of the image, as boxes.
        segments: of the image, as `GroundTruth.panoptic` has it, its segments in the order of ``truth``.
        merged: the score above which a detection could become a segment; those that lost their pixels to
            others are no evidence.
    """
    ids = np.array([one.id for one in found.segments], np.int64)
    tight, _ = boxes_and_areas_of_segments(found.id_map, ids)
    rest = found.detections.scores <= merged
    scores = [np.array([one.score for one in found.segments], np.float32), found.detections.scores[rest]]
    classes = [np.array([one.category_id for one in found.segments], np.int64), found.detections.labels[rest]]
    boxes = [tight.reshape(-1, 4), found.detections.boxes_xyxy_px[rest]]
    both = Detections(found.image_id, *(np.concatenate(parts) for parts in (boxes, scores, classes)))
    made = evidence_of_boxes(both, truth)
    order = np.argsort(-both.scores, kind="stable")
    true_ids = np.array([one["id"] for one in segments["segments"]], np.int64)
    iou, masks = made.iou.copy(), {}
    of_masks = _mask_iou(found.id_map, ids, segments["id_map"], true_ids)
    for place, number in enumerate(order.tolist()):
        if number < len(ids):
            iou[place] = of_masks[number]
            runs = coco_mask.encode(np.asfortranarray(found.id_map == ids[number], np.uint8))
            masks[place] = {"size": list(found.id_map.shape), "counts": runs["counts"].decode("ascii")}
    apart = np.eye(len(true_ids))  # an id map's segments share no pixel
    values = {**vars(made), "iou": iou, "truth_iou": apart, "masks": masks}
    return Evidence(**values)


def _mask_iou(
    found: NDArray[Any], ids: NDArray[np.int64], truth: NDArray[Any], true_ids: NDArray[np.int64]
) -> Floats:
    """``[D, G]`` IoU of the segments of two id maps; an id of -1 stands for every other."""
    rows, columns = _places(found, ids), _places(truth, true_ids)
    table = np.bincount(
        (rows * (len(true_ids) + 1) + columns).ravel(), minlength=(len(ids) + 1) * (len(true_ids) + 1)
    ).reshape(len(ids) + 1, len(true_ids) + 1)
    shared = table[:-1, :-1].astype(np.float64)
    union = table[:-1].sum(1)[:, None] + table[:, :-1].sum(0) - shared
    return shared / np.maximum(union, 1)


def _places(id_map: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each pixel's id in ``ids``; one past the end for others."""
    if not len(ids):
        return np.zeros(id_map.shape, np.int64)
    order = np.argsort(ids, kind="stable")
    slots = np.minimum(np.searchsorted(ids[order], id_map), len(ids) - 1)
    return np.where(ids[order][slots] == id_map, order[slots], len(ids))


def _overlap(boxes: Floats, others: Floats, inside: bool = False) -> Floats:
    """``[N, M]`` IoU of boxes; with ``inside`` the share of each first box that lies in the second."""
    if not len(boxes) or not len(others):
        return np.zeros((len(boxes), len(others)))
    return np.asarray(coco_mask.iou(boxes, others, [int(inside)] * len(others)), np.float64)
