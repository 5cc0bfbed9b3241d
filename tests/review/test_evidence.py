"""Of a segmenter, masks are compared, and what became no segment keeps its box."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from detr_hf.review.evidence import evidence_of_segments


def test_segments_are_compared_by_their_pixels() -> None:
    truth = np.zeros((10, 20), np.int32)
    truth[:, :10], truth[:, 10:] = 7, 3
    found = np.zeros((10, 20), np.int32)
    found[:, :5], found[:5, 10:] = 1, 2  # half of either
    boxes = np.array([[0, 0, 5, 10], [10, 0, 20, 5], [0, 0, 20, 10], [0, 0, 20, 9]], np.float32)
    detections = Detections(4, boxes, np.array([0.9, 0.95, 0.2, 0.91], np.float32), np.array([0, 1, 1, 0]))
    prediction = PanopticPrediction(4, found, [Segment(1, 0, 0.9), Segment(2, 1, 0.95)], detections)
    boxes_of_truth = {
        "boxes_xyxy_px": np.array([[0, 0, 10, 10], [10, 0, 20, 10]], np.float64),
        "labels": np.array([0, 1]),
        "iscrowd": np.zeros(2, bool),
    }
    segments = {"id_map": truth, "segments": [{"id": 7}, {"id": 3}]}
    made = evidence_of_segments(prediction, boxes_of_truth, segments, merged=0.85)
    assert made.labels.tolist() == [1, 0, 1], "the surest first; the one that lost its pixels is left out"
    assert made.iou[:2] == pytest.approx(np.array([[0, 0.5], [0.5, 0]]))
    assert made.iou[2] == pytest.approx(np.array([0.5, 0.5])), "a box, with boxes"
    assert made.truth_iou.tolist() == np.eye(2).tolist()
    assert sorted(made.masks) == [0, 1] and made.masks[0]["size"] == [10, 20]
