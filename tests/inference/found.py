"""A predictor without a network, which finds what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_hf.inference.preprocess import as_rgb
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction, Segment


@dataclass
class FakePredictor:
    """Finds a box a class in each image, and as a segmenter a disk, a ring, two parts and the rest."""

    labels: LabelMap
    is_panoptic: bool = False
    score_threshold: float = 0.3

    def stream(self, images: Iterable[Any], batch_size: int = 1) -> Iterator[Prediction]:
        for number, image in enumerate(images):
            yield self.found(number, as_rgb(image).shape[:2])

    def found(self, number: int, size_hw: tuple[int, ...]) -> Prediction:
        height, width = size_hw
        count = self.labels.num_classes
        corners = np.random.default_rng(number).uniform(0, 0.5, (count, 4)) + np.array([0, 0, 0.5, 0.5])
        boxes = (corners * [width, height, width, height]).astype(np.float32)
        scores = np.linspace(0.95, 0.35, count, dtype=np.float32)
        boxes_found = Detections(number, boxes, scores, np.arange(count))
        if not self.is_panoptic:
            return boxes_found
        y, x = np.mgrid[:height, :width]
        id_map = np.full((height, width), 4, np.int32)
        id_map[(y - 20) ** 2 + (x - 20) ** 2 < 15**2] = 1
        ring = (y - 40) ** 2 + (x - 60) ** 2
        id_map[(ring < 20**2) & (ring > 8**2)] = 2
        id_map[50:60, 5:30] = id_map[5:12, 70:80] = id_map[1, 50] = 3
        segments = [Segment(at, at % count, 0.9 - at / 10) for at in (1, 2, 3, 4)]
        return PanopticPrediction(number, id_map, segments, boxes_found)
