"""Predictions as plain JSON, and the names of files for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.foreign_files import harmless_name
from detr_hf.geometry import id_to_rgb
from detr_hf.images import save_image
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction


@dataclass(frozen=True)
class InputImage:
    """One image that could be read.

    Attributes:
        path: its file.
        name: of its results, see ``result_names``.
        file_name: in files for all images, see ``inputs.image_names``.
        pixels: ``uint8 [H, W, 3]``, upright.
    """

    path: Path
    name: str
    file_name: str
    pixels: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


def as_record(predicted: Prediction, labels: LabelMap, score_threshold: float) -> dict[str, Any]:
    """A prediction as plain JSON: boxes as x min, y min, x max, y max in pixels, segments with their area."""
    sure = predicted.detections.above(score_threshold)
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


FAR_BELOW = 0.5
"""As a share of the threshold: a highest score under it is a guess, and to list it would help nobody."""


def nothing_found(highest_score: float, score_threshold: float) -> str:
    """What to do where a model found nothing in any image, in one sentence.

    Args:
        highest_score: that any query gave.
        score_threshold: of the prediction.
    """
    seen = f"nothing found: the highest score is {highest_score:.2f}, the threshold {score_threshold:.2f}"
    if highest_score > score_threshold:
        return f"{seen}, but no mask was left for it; train stage 2 for longer"
    if highest_score < FAR_BELOW * score_threshold:
        return (
            f"{seen}, so a lower one would show guesses: train for longer, or see whether the images show "
            "classes that the model has, in a size that it was trained on"
        )
    lower = math.floor(90 * highest_score) / 100
    return f"{seen}; see what --threshold {lower:g} shows, and train for longer if that is wrong"


def result_names(sources: Sequence[Path]) -> list[str]:
    """A name for the results of each file: its stem, or more of it where two would be named alike."""
    names = [harmless_name(path.name) for path in sources]
    for choice in ([harmless_name(path.stem) for path in sources], names):
        if len(set(choice)) == len(choice):
            return choice
    return [f"{index:05d}_{name}" for index, name in enumerate(names)]


def save_id_map(predicted: PanopticPrediction, file: Path) -> None:
    """The id map as a PNG in COCO's colors."""
    save_image(Image.fromarray(id_to_rgb(predicted.id_map)), file)
