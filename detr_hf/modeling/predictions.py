"""What a task predicts for one image, in pixels of the original photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Detections:
    """N objects found in one image.

    Attributes:
        image_id: the dataset's id of the image.
        boxes_xyxy_px: ``float32 [N, 4]`` corners in original pixels, inside the image.
        scores: ``float32 [N]`` class probabilities, best first.
        labels: ``int64 [N]`` class ids, 0 to C-1.
    """

    image_id: int
    boxes_xyxy_px: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def above(self, score_threshold: float) -> Detections:
        """Only the objects whose score is higher than ``score_threshold`` (0 to 1)."""
        keep = self.scores > score_threshold
        return Detections(self.image_id, self.boxes_xyxy_px[keep], self.scores[keep], self.labels[keep])


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic prediction: its id in the id map, its class, its query's score (0 to 1)."""

    id: int
    category_id: int
    score: float


@dataclass
class PanopticPrediction:
    """One image cut into segments.

    Attributes:
        image_id: the dataset's id of the image.
        id_map: ``int32 [H, W]`` in original pixels; 0 is void, otherwise the id of exactly one of
            ``segments``.
        segments: every segment has at least one pixel; ids are unique.
        detections: all queries as boxes, so that a segmenter can be scored as a detector as well.
    """

    image_id: int
    id_map: NDArray[np.int32]
    segments: list[Segment]
    detections: Detections
