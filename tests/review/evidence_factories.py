"""Images made by hand: what is annotated, and what a model saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.modeling.predictions import Detections
from detr_hf.review.evidence import Evidence, evidence_of_boxes

Box = tuple[float, float, float, float]


def evidence(
    found: Sequence[tuple[Box, int, float]],
    truth: Sequence[tuple[Box, int]],
    image_id: int = 0,
    crowd: Sequence[bool] = (),
) -> Evidence:
    """Found as (box, class, score), annotated as (box, class); boxes are x, y, width, height."""

    def corners(boxes: list[Box]) -> np.ndarray:
        return boxes_xywh_to_xyxy(np.array(boxes, np.float64).reshape(-1, 4))

    detections = Detections(
        image_id,
        corners([box for box, _, _ in found]),
        np.array([score for _, _, score in found], np.float64),
        np.array([label for _, label, _ in found], np.int64),
    )
    true = {
        "boxes_xyxy_px": corners([box for box, _ in truth]),
        "labels": np.array([label for _, label in truth], np.int64),
        "iscrowd": np.array(list(crowd) or [False] * len(truth), bool),
    }
    return evidence_of_boxes(detections, true)


def sound(image_id: int, seed: int) -> Evidence:
    """An image without a fault: two objects apart, each found nearly where it is."""
    rng = np.random.default_rng(seed)
    boxes = [(x, 10.0, 30.0, 30.0) for x in (10.0, 60.0)]
    found = [((x + rng.uniform(-2, 2), y, w, h), at, 0.9) for at, (x, y, w, h) in enumerate(boxes)]
    return evidence(found, [(box, at) for at, box in enumerate(boxes)], image_id)
