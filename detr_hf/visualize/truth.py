"""The truth of a data set drawn over its images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.panoptic import draw_panoptic


def draw_truth(
    image: NDArray[np.uint8], image_id: int, truth: GroundTruth, labels: LabelMap, segments: bool
) -> Image.Image:
    """The truth over an image ``uint8 [H, W, 3]``: segments, or boxes with dashed lines.

    Raises:
        UserError: the PNG of the segments cannot be read.
    """
    if segments:
        reference = truth.panoptic(image_id)
        real = [(s["id"], s["category_id"], None) for s in reference["segments"] if not s["iscrowd"]]
        return draw_panoptic(image, reference["id_map"], real, labels)
    boxes = truth.detection(image_id)
    return draw_detections(image, UnscoredBoxes(boxes["boxes_xyxy_px"], boxes["labels"]), labels, truth=True)
