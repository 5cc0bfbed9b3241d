"""One model for all visitors, and for each visitor the image that they look at.

Nothing about a visitor is kept in the model: a `Viewing` holds their image and what was found in it, and is
handed back in with every question.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from detr_hf.errors import UserError, quantity
from detr_hf.images import decode_image, image_size
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.inference.video import predict_video
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction
from detr_hf.visualize.explanation import MOST_QUERIES, fitted, query_cells

BOXES, PANOPTIC, ATTENTION = "Boxes", "Panoptic", "Attention"
"""The views of an image."""

Answer = TypeVar("Answer")
Key = TypeVar("Key", int, float)
TitledImages = list[tuple[Image.Image, str]]

MAX_MEGAPIXELS = 50
"""Of an image that the page takes; a page has many visitors and one memory."""

LONGEST_EDGE = 1600
"""Pixels at which an image is looked at and shown: the masks of all queries of a large one would fill the
memory. The network itself sees it smaller than that."""

KEPT_THRESHOLDS = 4
"""Answers for so many positions of the slider are kept for each visitor."""

MAX_VIDEO_SECONDS = 120
"""Of a video that the page draws; the rest is left out."""


@dataclass
class Viewing:
    """What one visitor looks at: an image ``uint8 [H, W, 3]`` under its name, and what was found in it.

    The image is at most ``LONGEST_EDGE`` wide or high, ``size_hw`` is what it was before. The network looks
    at ``whole``: the same, or in tiles the image as it was.

    Which queries are kept decides all that a threshold changes, and their number says which ones they are:
    the surest. So answers are kept by that number, and a slider that moves between two scores asks nothing.
    """

    name: str
    size_hw: tuple[int, int]
    image: NDArray[np.uint8]
    whole: NDArray[np.uint8]
    all_queries: Detections
    folder: TemporaryDirectory[str]
    predictions: OrderedDict[float, Prediction] = field(default_factory=OrderedDict)
    explained: OrderedDict[int, TitledImages] = field(default_factory=OrderedDict)

    def file(self, suffix: str) -> Path:
        """A place for a result, gone with the viewing."""
        return Path(self.folder.name) / f"{Path(self.name).stem}{suffix}"

    def count(self, score_threshold: float) -> int:
        """How many queries are surer than the threshold."""
        return len(self.all_queries.above(score_threshold).scores)


@dataclass
class Film:
    """A visitor's video file, and the place of what is drawn of it."""

    path: Path
    folder: TemporaryDirectory[str]


class Viewer:
    """The model behind the page; visitors take turns at it, a video after each frame.

    Args:
        predictor: a model of either stage.
        folder: where visitors' results lie while they look at them.
    """

    def __init__(self, predictor: Predictor, folder: Path):
        self.predictor, self.folder = predictor, folder
        self.labels, self.is_panoptic = predictor.labels, predictor.is_panoptic
        self.score_threshold, self.family = predictor.score_threshold, predictor.task.family.name
        self.best_threshold = predictor.best_threshold
        # the inside of an exported model is closed; tiles are many looks, and attention shows one
        self.explains = isinstance(predictor.task, nn.Module) and predictor.tiles is None
        self._turn = threading.Lock()

    def open(self, path: str | Path, score_threshold: float) -> Viewing:
        """Look at an image file.

        Raises:
            UserError: it is no image, damaged or too large; the message names the file without its folder.
        """
        name = Path(path).name
        height, width = image_size(path, name)
        if height * width > MAX_MEGAPIXELS * 1e6:
            raise UserError(
                f"{name}: refused, {width} x {height} is {height * width / 1e6:.0f} Mpx and this page takes "
                f"up to {MAX_MEGAPIXELS}; scale the image down first"
            )
        whole = decode_image(path, name)
        image = fitted(whole, LONGEST_EDGE)
        if self.predictor.tiles is None:
            whole = image
        prediction = self._ask(image, whole, score_threshold)
        visit = TemporaryDirectory(dir=self.folder)
        viewing = Viewing(name, (height, width), image, whole, prediction.detections, visit)
        viewing.predictions[self._key(viewing, score_threshold)] = prediction
        return viewing

    def prediction(self, viewing: Viewing, score_threshold: float) -> Prediction:
        """What the model finds above a threshold; the network runs only for segments not cut out before."""
        if not self.is_panoptic:
            return viewing.all_queries.above(score_threshold)
        key = self._key(viewing, score_threshold)
        shown, whole = viewing.image, viewing.whole
        return _kept(viewing.predictions, key, lambda: self._ask(shown, whole, score_threshold))

    def attention(self, viewing: Viewing, score_threshold: float) -> TitledImages:
        """Of each kept query the mask it drew (stage 2) and where it looked, with titles; surest first."""

        def explain() -> TitledImages:
            with self._turn:
                mine = self._with_threshold(score_threshold)
                explanation = mine.explain(fitted(viewing.image))
            return [
                (drawn, title)
                for view in explanation.queries[:MOST_QUERIES]
                for title, drawn in query_cells(explanation.image, view, self.labels)
            ]

        return _kept(viewing.explained, viewing.count(score_threshold), explain)

    def draw_video(self, film: Film, score_threshold: float) -> tuple[Path, str, Path]:
        """Draw what is found into every frame.

        Returns:
            The drawn MP4, one sentence on it, and the file of what was found, a line of JSON a frame.

        Raises:
            UserError: it is no video, or the packages for videos are missing.
        """
        mine = self._with_threshold(score_threshold)
        frames_of = mine.task.predict

        def in_turn(*arguments: Any) -> Any:
            with self._turn:
                return frames_of(*arguments)

        mine.task.predict = in_turn
        out = Path(film.folder.name) / f"{film.path.stem}.mp4"
        try:
            lines = out.with_suffix(".jsonl")
            done = predict_video(self._looking(mine), film.path, out, seconds=MAX_VIDEO_SECONDS, lines=lines)
        except UserError as error:
            raise UserError(str(error).replace(str(film.path), film.path.name)) from error
        frames = quantity(done.frames, "frame")
        said = f"{film.path.name}: what is surer than {score_threshold:.2f}, {frames} at "
        return out, said + f"{done.frames_per_second:.1f} a second", lines

    def _ask(self, image: NDArray[np.uint8], whole: NDArray[np.uint8], score_threshold: float) -> Prediction:
        """What the network finds in the whole image, in pixels of the image that is shown."""
        with self._turn:
            found = next(self._looking(self._with_threshold(score_threshold)).stream([whole]))
        return _scaled(found, image.shape[:2], whole.shape[:2])

    def _key(self, viewing: Viewing, score_threshold: float) -> float:
        """Two thresholds with one key have one answer. Merged tiles do not tell which queries are kept."""
        return viewing.count(score_threshold) if self.predictor.tiles is None else score_threshold

    def _looking(self, mine: Predictor) -> Predictor | TiledPredictor:
        """As the model was trained: at whole images, or in tiles."""
        return mine if mine.tiles is None else TiledPredictor(mine, least_score=0.0)

    def _with_threshold(self, score_threshold: float) -> Predictor:
        """The same weights under a threshold of one's own: the model's is changed for nobody else."""
        mine = copy.copy(self.predictor)
        mine.task = copy.copy(self.predictor.task)
        mine.score_threshold = score_threshold
        return mine


def _scaled(found: Prediction, size_hw: tuple[int, int], from_hw: tuple[int, int]) -> Prediction:
    """A prediction for an image of one size as one for the same image of another size."""
    if size_hw == from_hw:
        return found
    factors = np.array([size_hw[1] / from_hw[1], size_hw[0] / from_hw[0]] * 2, np.float32)
    boxes = replace(found.detections, boxes_xyxy_px=found.detections.boxes_xyxy_px * factors)
    if not isinstance(found, PanopticPrediction):
        return boxes
    id_map = np.asarray(Image.fromarray(found.id_map).resize(size_hw[::-1], Image.Resampling.NEAREST))
    return replace(found, id_map=id_map, detections=boxes)


def name_of(model: str) -> str:
    """What to call a model: its Hub id, or the last two folders of its path (`panoptic/best`)."""
    path = Path(model)
    return "/".join(path.resolve().parts[-2:]) if path.is_dir() else model


def _kept(answers: OrderedDict[Key, Answer], key: Key, ask: Callable[[], Answer]) -> Answer:
    """The answer from before, or a new one in the place of the oldest."""
    answer = answers.get(key)
    if answer is None:
        answer = answers[key] = ask()
        while len(answers) > KEPT_THRESHOLDS:
            answers.popitem(last=False)
    return answer
