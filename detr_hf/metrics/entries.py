"""What a metric keeps of one image: enough to score it later, small enough for every image of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageEntry:
    """What is kept of one image.

    Attributes:
        image_id: the dataset's id of the image.
        truth_digest: checksum of its ground truth: tells an image that came twice from two with one id.
        content: whatever the metric needs later; plain arrays, so that it can be sent between processes.
    """

    image_id: int
    truth_digest: int
    content: Any


@dataclass(frozen=True)
class ImageBoxes:
    """One image's detections and ground truth, boxes as xywh in pixels.

    ``queries`` gave the detections, 0 to Q-1; None where that is not known.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    truth_boxes: NDArray[np.float64]
    truth_labels: NDArray[np.int64]
    truth_areas: NDArray[np.float64]
    truth_crowd: NDArray[np.bool_]
    queries: NDArray[np.int64] | None = None
