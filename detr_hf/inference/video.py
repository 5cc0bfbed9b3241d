"""Video in, video out: what a model sees, drawn over every frame."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.files import unwritable
from detr_hf.foreign_files import own_file
from detr_hf.inference.predictor import Predictor, with_predictions
from detr_hf.inference.results import as_record
from detr_hf.inference.tiling import TiledPredictor
from detr_hf.inference.tracker import Tracker
from detr_hf.inference.video_reader import open_footage
from detr_hf.inference.video_writer import VideoWriter
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.progress import progress
from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.panoptic import draw_panoptic


@dataclass(frozen=True)
class VideoSummary:
    """How many frames were written, in how many seconds, and what was found in them all."""

    frames: int
    took: float
    found: int

    @property
    def frames_per_second(self) -> float:
        return self.frames / max(self.took, 1e-9)


def predict_video(
    predictor: Predictor | TiledPredictor,
    source: Path | str | int,
    out: Path | str,
    batch_size: int = 1,
    seconds: float | None = None,
    lines: Path | str | None = None,
) -> VideoSummary:
    """Draw what a model finds over a video, at the times of its frames; sound is left out.

    A class has one color throughout, and a thing its shade of it for as long as it is followed. If the loop
    ends early (Ctrl-C, a damaged source), the file holds what was done by then and can be played.

    Args:
        predictor: of either stage.
        source: a video file, or the number of a camera.
        out: ``.mp4`` or ``.gif``.
        batch_size: frames in one pass.
        seconds: end after so much of the source.
        lines: a file for what was found, a line of JSON a frame: its number, its time in ``seconds``, and
            what ``as_record`` has.

    Raises:
        UserError: the source cannot be read, ``out`` cannot be written or is the source, or PyAV is missing.
    """
    source, out = source if isinstance(source, int) else Path(source), Path(out)
    if isinstance(source, Path) and source.resolve() == out.resolve():
        raise UserError(f"{out} is the video itself; choose another file for the result.")
    footage = open_footage(source, seconds)
    start, written, found = time.monotonic(), 0, 0
    draw = FramePainter(predictor.labels, predictor.score_threshold)
    bar = progress(None, footage.count, Path(str(source)).name, unit="frame")
    with VideoWriter(out, footage.rate) as writer, _opened(lines) as file, bar:
        for frame, predicted in with_predictions(predictor, footage.frames, batch_size):
            writer.add(draw(frame.pixels, predicted), frame.at)
            record = as_record(predicted, predictor.labels, predictor.score_threshold)
            found += len(record.get("segments", record["objects"]))
            if file is not None:
                file.write(json.dumps({"frame": written, "seconds": float(frame.at), **record}) + "\n")
            written += 1
            bar.update()
    return VideoSummary(written, time.monotonic() - start, found)


def _opened(lines: Path | str | None) -> AbstractContextManager[TextIO | None]:
    if lines is None:
        return nullcontext()
    file = own_file(Path(lines).parent, Path(lines).name)
    with unwritable(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("w", encoding="utf-8")


class FramePainter:
    """Draws one frame after the other of one video; names without scores, whose digits would flicker.

    Args:
        labels: give names and colors.
        score_threshold: boxes with a lower score are not drawn.
    """

    def __init__(self, labels: LabelMap, score_threshold: float) -> None:
        self._labels, self._score_threshold = labels, score_threshold
        self._tracker = Tracker(labels)

    def __call__(self, pixels: np.ndarray, predicted: Prediction) -> Image.Image:
        """The next frame ``uint8 [H, W, 3]`` with what was found in it."""
        if isinstance(predicted, PanopticPrediction):
            segments = [(segment.id, segment.category_id, None) for segment in predicted.segments]
            shades = self._tracker.update(predicted)
            return draw_panoptic(pixels, predicted.id_map, segments, self._labels, shades)
        sure = predicted.detections.above(self._score_threshold)
        return draw_detections(pixels, UnscoredBoxes(sure.boxes_xyxy_px, sure.labels), self._labels)
