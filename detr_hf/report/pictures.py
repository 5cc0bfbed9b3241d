"""The best and worst images, drawn beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.images import decode_image
from detr_hf.metrics.entries import ImageBoxes
from detr_hf.modeling.predictions import Detections
from detr_hf.report.quality import ImageQuality
from detr_hf.report.subject import Subject
from detr_hf.visualize.boxes import draw_detections
from detr_hf.visualize.panoptic import draw_prediction
from detr_hf.visualize.truth import draw_truth

UNREADABLE, GONE = "the data cannot be read", "the data has no such image any more"


@dataclass(frozen=True)
class Drawn:
    """One image of the ranking: two drawings, or what is wrong with it."""

    quality: ImageQuality
    file_name: str
    truth: Image.Image | None = None
    prediction: Image.Image | None = None
    fault: str = ""


def draw_all(subject: Subject, ranked: Sequence[ImageQuality], score_threshold: float) -> list[Drawn]:
    """Draw these images, boxes above the threshold; one that cannot be read says so in its place.

    Only files of the validation split are opened, through the decoder that training uses.
    """
    if subject.images is None or subject.truth is None:
        return [Drawn(one, "", fault=subject.faults.get(one.image_id, UNREADABLE)) for one in ranked]
    row_of = subject.truth.row_of
    return [_drawn(subject, one, row_of.get(one.image_id), score_threshold) for one in ranked]


def _drawn(subject: Subject, one: ImageQuality, index: int | None, score_threshold: float) -> Drawn:
    assert subject.images is not None and subject.truth is not None and subject.per_image is not None
    if index is None:
        return Drawn(one, "", fault=subject.faults.get(one.image_id, GONE))
    row, segments = subject.images.rows.row((0, index)), subject.per_image.segments is not None
    name = str(row["file_name"])
    try:
        photograph = decode_image(row["image"], name)
        truth = draw_truth(photograph, one.image_id, subject.truth, subject.labels, segments)
        if not segments:
            found = _detections(subject, one.image_id).above(score_threshold)
            return Drawn(one, name, truth, draw_detections(photograph, found, subject.labels))
        if subject.predict is None:
            return Drawn(one, name, truth, fault="the model is not at hand")
        predicted = subject.predict(index)
    except UserError as fault:
        return Drawn(one, name, fault=str(fault))
    return Drawn(one, name, truth, draw_prediction(photograph, predicted, subject.labels, score_threshold))


def _detections(subject: Subject, image_id: int) -> Detections:
    """What the evaluation found, so that stage 1 needs no model to be drawn."""
    assert subject.per_image is not None
    image: ImageBoxes = next(one.content for one in subject.per_image.boxes if one.image_id == image_id)
    boxes = boxes_xywh_to_xyxy(image.boxes).astype(np.float32)
    return Detections(image_id, boxes, image.scores.astype(np.float32), image.labels)
