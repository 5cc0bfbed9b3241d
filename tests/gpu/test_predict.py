"""What the tiny checkpoint finds on a device, in any precision, is what it finds on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.inference import Predictor
from detr_hf.modeling.predictions import PanopticPrediction
from tests.gpu.precisions import FP16, skip_unless_usable
from tools.pretrain_tiny.street import STREET

SURE = 0.5
AGREE = {"fp32": 0.999, "bf16": 0.95, "fp16": 0.98}
"""Share of pixels with the same class."""


def classes(found: PanopticPrediction) -> np.ndarray:
    """The class of every pixel, -1 where there is none."""
    lookup = np.full(max((s.id for s in found.segments), default=0) + 1, -1)
    for segment in found.segments:
        lookup[segment.id] = segment.category_id
    return lookup[found.id_map]


@pytest.mark.parametrize("precision", ["fp32", "bf16", FP16])
def test_predictions_are_those_of_the_cpu(precision: str, device: str) -> None:
    skip_unless_usable(precision, device)
    images = [draw_scene(31, index, world=STREET).image for index in range(3)]
    expected = Predictor.from_pretrained(CHECKPOINT, SURE, "cpu").stream(images)
    found = Predictor.from_pretrained(CHECKPOINT, SURE, device, precision).stream(images, batch_size=3)  # type: ignore[arg-type]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, PanopticPrediction) and isinstance(other, PanopticPrediction)
        assert other.segments, "there is something to agree on"
        assert (classes(one) == classes(other)).mean() > AGREE[precision]
        if precision == "fp32":
            np.testing.assert_allclose(one.detections.scores, other.detections.scores, atol=1e-3)
            np.testing.assert_allclose(one.detections.boxes_xyxy_px, other.detections.boxes_xyxy_px, atol=0.1)
