"""The worst and best images, drawn beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.images import decode_image
from detr_hf.metrics.entries import ImageBoxes
from detr_hf.metrics.tables import said
from detr_hf.modeling.predictions import Detections
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.quality import ImageQuality
from detr_hf.visualize.boxes import draw_detections
from detr_hf.visualize.panoptic import draw_prediction
from detr_hf.visualize.truth import draw_truth

UNREADABLE, GONE = "the data cannot be read", "the data has no such image any more"


@dataclass(frozen=True)
class Example:
    """One image of the ranking: two drawings, or what is wrong with it."""

    ranked: ImageQuality
    file_name: str
    truth: Image.Image | None = None
    prediction: Image.Image | None = None
    fault: str = ""

    @property
    def cells(self) -> list[Any]:
        """A row of the table of examples: file, id, quality, and objects matched, false and missed."""
        one = self.ranked
        name = self.file_name or "not known"
        return [name, one.image_id, said(one.quality), one.matched, one.false, one.missed]


def draw_examples(
    inputs: ReportInputs, ranked: Sequence[ImageQuality], score_threshold: float
) -> list[Example]:
    """Draw these images, boxes above the threshold; one that cannot be read says so in its place.

    Only files of the validation split are opened, through the decoder that training uses.
    """
    if inputs.truth is None:
        return [Example(one, "", fault=inputs.faults.get(one.image_id, UNREADABLE)) for one in ranked]
    return [_drawn(inputs, one, score_threshold) for one in ranked]


def _drawn(inputs: ReportInputs, one: ImageQuality, score_threshold: float) -> Example:
    assert inputs.truth is not None and inputs.per_image is not None
    if one.image_id not in inputs.truth.row_of:
        return Example(one, "", fault=inputs.faults.get(one.image_id, GONE))
    row, is_panoptic = inputs.truth.row(one.image_id), inputs.per_image.segments is not None
    name, labels = str(row["file_name"]), inputs.labels
    try:
        image = decode_image(row["image"], name)
        truth = draw_truth(image, one.image_id, inputs.truth, labels, is_panoptic)
        if not is_panoptic:
            found = _detections(inputs, one.image_id).above(score_threshold)
            return Example(one, name, truth, draw_detections(image, found, labels))
        if inputs.segments is None:
            return Example(one, name, truth, fault="the model is not at hand")
        predicted = inputs.segments(one.image_id)
    except UserError as fault:
        return Example(one, name, fault=str(fault))
    return Example(one, name, truth, draw_prediction(image, predicted, labels, score_threshold))


def _detections(inputs: ReportInputs, image_id: int) -> Detections:
    """What the evaluation found, so that stage 1 needs no model to be drawn."""
    assert inputs.per_image is not None
    image: ImageBoxes = next(one.content for one in inputs.per_image.boxes if one.image_id == image_id)
    boxes = boxes_xywh_to_xyxy(image.boxes).astype(np.float32)
    return Detections(image_id, boxes, image.scores.astype(np.float32), image.labels)
