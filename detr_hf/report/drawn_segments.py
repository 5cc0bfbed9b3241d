"""The segments that a report shows, kept beside it: made again, it draws them without the model."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from detr_hf.errors import UserError
from detr_hf.files import UnwritableError, whole_file
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_id_map
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import evaluation_mark
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction, Segment
from detr_hf.run_folder import SEGMENTS_FILE, RunFolder


class DrawnSegments:
    """What ``best/`` of a stage-2 run finds in an image: from the file, else from the model, then kept.

    Args:
        run: whose ``best/`` it is; segments of an older ``best/`` are forgotten.
        labels: of ``best/``.
        truth: the validation split.
        predict: the model, for a row of ``truth``.
    """

    def __init__(
        self, run: RunFolder, labels: LabelMap, truth: GroundTruth, predict: Callable[[int], Prediction]
    ) -> None:
        self._run, self._labels, self._truth, self._predict = run, labels, truth, predict
        self._arrays, self._new = _read(run), False

    def __call__(self, image_id: int) -> Prediction:
        """The prediction for one image of the split; one from the file has no boxes.

        Raises:
            UserError: the image, or the model, cannot be loaded.
        """
        if (kept := self._kept(image_id)) is not None:
            return kept
        found = self._predict(self._truth.row_of[image_id])
        if isinstance(found, PanopticPrediction):
            self._arrays |= _arrays_of(found)
            self._new = True
        return found

    def save(self) -> None:
        """Write what is new; a failure is a warning, only the next report is slower for it."""
        if not self._new:
            return
        try:
            with whole_file(self._run.path / SEGMENTS_FILE) as partial:
                save_file({"of": np.array([evaluation_mark(self._run)]), **self._arrays}, partial)
        except UnwritableError as error:
            print(f"warning: {error}", flush=True)

    def _kept(self, image_id: int) -> PanopticPrediction | None:
        """None where the file lacks it, or holds what cannot be of this image and these classes."""
        try:
            png, rows = self._arrays[f"{image_id}.png"], self._arrays[f"{image_id}.segments"]
            id_map = decode_id_map({"bytes": png.tobytes()})
            segments = [Segment(int(one), int(label), float(score)) for one, label, score in rows]
        except (KeyError, ValueError, TypeError, UserError):
            return None
        row = self._truth.row(image_id)
        fits = all(0 <= one.category_id < self._labels.num_classes for one in segments)
        if not fits or id_map.shape != (row["height"], row["width"]):
            return None
        return PanopticPrediction(image_id, id_map, segments, _no_boxes(image_id))


def _read(run: RunFolder) -> dict[str, NDArray[Any]]:
    try:
        arrays = load_file(run.path / SEGMENTS_FILE)
        return arrays if arrays.pop("of").tolist() == [evaluation_mark(run)] else {}
    except (OSError, ValueError, KeyError, SafetensorError):
        return {}


def _arrays_of(found: PanopticPrediction) -> dict[str, NDArray[Any]]:
    png = io.BytesIO()
    Image.fromarray(id_to_rgb(found.id_map)).save(png, "PNG")
    rows = [(one.id, one.category_id, one.score) for one in found.segments]
    return {
        f"{found.image_id}.png": np.frombuffer(png.getvalue(), np.uint8),
        f"{found.image_id}.segments": np.array(rows, np.float64).reshape(-1, 3),
    }


def _no_boxes(image_id: int) -> Detections:
    return Detections(image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
