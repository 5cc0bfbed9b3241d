"""The plain results of a model."""

from __future__ import annotations

import numpy as np

from detr_hf.modeling.predictions import Detections


def test_above_keeps_what_is_surer_than_the_threshold() -> None:
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = Detections(3, boxes, np.array([0.9, 0.5, 0.1], np.float32), np.array([2, 0, 1]))
    kept = found.above(0.5)
    assert (kept.image_id, kept.scores.tolist(), kept.labels.tolist()) == (3, [np.float32(0.9)], [2])
    assert kept.boxes_xyxy_px.tolist() == [[0, 1, 2, 3]]
    assert found.above(1.0).boxes_xyxy_px.shape == (0, 4)
    assert len(found.scores) == 3
