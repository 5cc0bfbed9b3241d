"""Whether two models say the same of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detr_hf.modeling.predictions import PanopticPrediction, Prediction


def refuse_disagreement(
    wanted: Sequence[Prediction], given: Sequence[Prediction], pictures: Sequence[np.ndarray]
) -> int:
    """Boxes within 1e-4 of the picture's sides, the same labels, every mask with an IoU over 0.999.

    Returns:
        How many segments were compared.
    """
    segments = 0
    for ours, theirs, picture in zip(wanted, given, pictures, strict=True):
        boxes = ours.detections if isinstance(ours, PanopticPrediction) else ours
        others = theirs.detections if isinstance(theirs, PanopticPrediction) else theirs
        height, width = picture.shape[:2]
        assert boxes.labels.tolist() == others.labels.tolist()
        sides = np.array([width, height, width, height])
        assert (np.abs(boxes.boxes_xyxy_px - others.boxes_xyxy_px) / sides).max() < 1e-4
        assert np.abs(boxes.scores - others.scores).max() < 1e-4
        if isinstance(ours, PanopticPrediction):
            assert isinstance(theirs, PanopticPrediction)
            segments += _compared_segments(ours, theirs)
    return segments


def _compared_segments(ours: PanopticPrediction, theirs: PanopticPrediction) -> int:
    kinds = [[(segment.id, segment.category_id) for segment in one.segments] for one in (ours, theirs)]
    assert kinds[0] == kinds[1]
    for mask, other in zip(ours.masks(), theirs.masks(), strict=True):
        assert (mask & other).sum() > 0.999 * (mask | other).sum()
    return len(ours.segments)
