"""What was found in one image, with the image: numbers to work with, and a drawing of them."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import quantity
from detr_hf.foreign_files import as_path
from detr_hf.images import save_image
from detr_hf.inference.preprocess import ImageInput, as_rgb
from detr_hf.inference.results import as_record
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction, Segment
from detr_hf.modeling.threshold_record import checked_threshold
from detr_hf.visualize.display import as_html, show_image
from detr_hf.visualize.panoptic import draw_prediction

MOST_ROWS = 20
"""Objects that the table below an image lists; the drawing shows all."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in one image with a score above a threshold.

    ``len(result)`` counts its segments, or its objects where the model predicts boxes alone.

    Attributes:
        prediction: all that the model gave, whatever its score.
        label_map: the classes, with their colors.
        score_threshold: 0 to 1; what is listed and drawn has a higher score.
        source: the image as it was given: its file, ``uint8 [H, W, 3]`` RGB, or a PIL image.
    """

    prediction: Prediction
    label_map: LabelMap
    score_threshold: float
    source: ImageInput

    # -- numbers

    @property
    def detections(self) -> Detections:
        """All boxes that the model ranks, whatever their score."""
        return self.prediction.detections

    @property
    def boxes_xyxy_px(self) -> NDArray[np.float32]:
        """``float32 [N, 4]``: x min, y min, x max, y max in pixels of the image, best first."""
        return self._sure.boxes_xyxy_px

    @property
    def scores(self) -> NDArray[np.float32]:
        """``float32 [N]``, 0 to 1."""
        return self._sure.scores

    @property
    def labels(self) -> NDArray[np.int64]:
        """``int64 [N]``, class ids from 0."""
        return self._sure.labels

    @property
    def names(self) -> list[str]:
        """The class of each of the N boxes."""
        return [self.label_map.names[label] for label in self.labels.tolist()]

    @property
    def id_map(self) -> NDArray[np.int32] | None:
        """``int32 [H, W]``: of each pixel the id of its segment, 0 for none. None where boxes are all."""
        return self.prediction.id_map if isinstance(self.prediction, PanopticPrediction) else None

    @property
    def segments(self) -> list[Segment]:
        """Id, class id and score of each segment; empty where boxes are all.

        They follow the threshold of the predictor: ``above`` changes boxes alone.
        """
        return self.prediction.segments if isinstance(self.prediction, PanopticPrediction) else []

    def above(self, score_threshold: float) -> Result:
        """The same image with the boxes of a higher score than this, 0 to 1; also with more of them."""
        return replace(self, score_threshold=checked_threshold(score_threshold))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, as ``detr-hf predict`` writes it: "objects" and, of a segmenter, "segments"."""
        return as_record(self.prediction, self.label_map, self.score_threshold)

    def __len__(self) -> int:
        return len(self.segments) if self.id_map is not None else len(self.scores)

    def __bool__(self) -> bool:
        """True also where nothing was found: ``if result`` would else be taken for `is there one`."""
        return True

    def __repr__(self) -> str:
        return f"<Result: {self._summary()}>"

    # -- drawings

    def draw(self) -> Image.Image:
        """The image with boxes, or segments, and their names over it; a small image is enlarged.

        Raises:
            UserError: its file can no longer be read.
        """
        return draw_prediction(as_rgb(self.source), self.prediction, self.label_map, self.score_threshold)

    def show(self) -> None:
        """Show the drawing: in a notebook below the cell, else in the system's image viewer."""
        show_image(self.draw())

    def save(self, file: str | Path) -> Path:
        """Write the drawing, as JPEG or PNG by the name of ``file``; folders are made when missing.

        Raises:
            UserError: it cannot be written.
        """
        file = as_path(file, "save: file")
        save_image(self.draw(), file)
        return file

    def _repr_html_(self) -> str:
        record = self.to_dict()
        rows = record.get("segments", record["objects"])
        cells = [f"<tr><td>{html.escape(row['label'])}<td>{row['score']:.2f}" for row in rows[:MOST_ROWS]]
        more = f"<p>and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
        table = f"<table><tr><th>class<th>score{''.join(cells)}</table>{more}" if rows else ""
        summary = html.escape(self._summary())
        return f"<p>{summary}</p>{as_html(self.draw(), summary)}{table}"

    @property
    def _sure(self) -> Detections:
        return self.detections.above(self.score_threshold)

    def _summary(self) -> str:
        noun, found = "object", self.names
        if self.id_map is not None:
            noun = "segment"
            found = [self.label_map.names[segment.category_id] for segment in self.segments]
        counts = ", ".join(f"{count} {name}" for name, count in Counter(found).most_common())
        return f"{quantity(len(found), noun)} above {self.score_threshold:g}" + (
            f": {counts}" if counts else ""
        )


class ImagePredictor(ABC):
    """What ``Predictor`` and ``TiledPredictor`` share: results of images, made of their stream."""

    labels: LabelMap

    @property
    @abstractmethod
    def score_threshold(self) -> float:
        """0 to 1; what has a higher score becomes a segment, is drawn and is listed."""

    @abstractmethod
    def stream(self, images: Iterable[ImageInput], batch_size: int = 1) -> Iterator[Prediction]:
        """One prediction an image, in order, as they are asked for; ``image_id`` counts them from 0."""

    @overload
    def predict(self, images: ImageInput, batch_size: int = 1) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Iterable[ImageInput], batch_size: int = 1) -> list[Result]: ...

    def predict(
        self, images: ImageInput | Iterable[ImageInput], batch_size: int = 1
    ) -> Result | list[Result]:
        """What is found in one image, or a list with what is found in each of several, in order.

        Results keep what they were given, so that they can be drawn; for thousands of images see ``stream``.

        Args:
            images: a file, ``uint8 [H, W, 3]`` RGB or a PIL image; or several of them.
            batch_size: images (``TiledPredictor``: tiles of one image) in one pass at most.

        Raises:
            UserError: an image cannot be read; its file is named.
        """
        is_one = isinstance(images, str | Path | Image.Image | np.ndarray) or not isinstance(images, Iterable)
        sources: list[Any] = [images] if is_one else list(images)  # type: ignore[arg-type]
        found = self.stream(sources, batch_size)
        threshold = self.score_threshold
        results = [
            Result(one, self.labels, threshold, source) for source, one in zip(sources, found, strict=True)
        ]
        return results[0] if is_one else results
