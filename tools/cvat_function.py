"""Label a task on a CVAT server with a model of either stage, through CVAT's own command-line tool.

    pip install cvat-cli
    cvat-cli --server-host https://app.cvat.ai --auth NAME task auto-annotate 123 \\
        --function-file tools/cvat_function.py -p model=str:runs/panoptic/best --allow-unmatched-labels

Parameters: ``model`` as `detr-hf predict` takes it; ``threshold`` (float), ``device`` (str), ``tile`` (int):
its flags. Class names are matched with the labels of the task. A detector gives rectangles, a segmenter
polygons, each with its score. Interface: https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.demo.resolve import model_path
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.inference.annotation_files import as_annotations


@dataclass(frozen=True)
class Shape:
    """One object: its class id, "rectangle" (x and y of two corners) or "polygon" (x and y of each point) in
    pixels of the upright image, and its score.
    """

    label: int
    kind: str
    points: list[float]
    score: float


class DetrFunction:
    """What CVAT calls: ``spec`` once, and ``detect`` for each image.

    Raises:
        UserError: there is no such model, or it cannot be used here.
    """

    def __init__(
        self,
        model: str,
        threshold: float | None = None,
        device: str | None = None,
        tile: int | None = None,
    ) -> None:
        self._model = Predictor.from_pretrained(model_path(model), threshold, device)
        self._predictor = self._model if tile is None else TiledPredictor(self._model, tile)
        self._usual = self._model.score_threshold

    @cached_property
    def spec(self) -> Any:
        """The classes, as ``cvat_sdk.auto_annotation.DetectionFunctionSpec``."""
        import cvat_sdk.auto_annotation as cvataa

        kind = "polygon" if self._model.is_panoptic else "rectangle"
        labels = [cvataa.label_spec(one.name, one.id, type=kind) for one in self._model.labels.categories]
        return cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """What is found in one image, as CVAT's shapes."""
        import cvat_sdk.auto_annotation as cvataa

        return [
            cvataa.shape(one.label, type=one.kind, points=one.points, score=one.score)
            for one in self.shapes(image, context.conf_threshold)
        ]

    def shapes(self, image: Image.Image, least_score: float | None = None) -> list[Shape]:
        """What is found with at least this score; None: above the model's usual threshold."""
        threshold = self._usual
        if least_score is not None:  # CVAT keeps what has the very score, a predictor what is above it
            threshold = max(0.0, float(np.nextafter(np.float32(least_score), np.float32(-1))))
        self._model.score_threshold = threshold
        [predicted] = self._predictor.stream([image])
        labels = self._model.labels
        return [
            Shape(labels.label2id[one.category or ""], *_drawn(one.bbox, one.segmentation), one.score or 0.0)
            for one in as_annotations(predicted, labels, threshold)
        ]


def _drawn(bbox: list[float], polygons: list[list[float]] | None) -> tuple[str, list[float]]:
    if polygons:
        return "polygon", polygons[0]
    x, y, w, h = bbox
    return "rectangle", [x, y, x + w, y + h]


create = DetrFunction
