"""Predictions as plain JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction


def as_record(predicted: Prediction, labels: LabelMap, score_threshold: float) -> dict[str, Any]:
    """A prediction as plain JSON: boxes as x min, y min, x max, y max in pixels, segments with their area."""
    boxes = predicted.detections if isinstance(predicted, PanopticPrediction) else predicted
    sure = boxes.above(score_threshold)
    record: dict[str, Any] = {
        "objects": [
            {
                "label": labels.names[label],
                "score": round(float(score), 4),
                "box_xyxy_px": box.astype(float).round(2).tolist(),
            }
            for label, score, box in zip(sure.labels.tolist(), sure.scores, sure.boxes_xyxy_px, strict=True)
        ]
    }
    if isinstance(predicted, PanopticPrediction):
        counts = np.bincount(predicted.id_map.ravel(), minlength=len(predicted.segments) + 1)
        record["segments"] = [
            {
                "id": segment.id,
                "label": labels.names[segment.category_id],
                "is_thing": labels.is_thing(segment.category_id),
                "score": round(segment.score, 4),
                "area_px": int(counts[segment.id]),
            }
            for segment in predicted.segments
        ]
    return record
