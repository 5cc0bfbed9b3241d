"""Large images tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.geometry import Window, tile_windows
from detr_hf.inference.device import Precision
from detr_hf.inference.image_result import ImagePredictor
from detr_hf.inference.predictor import Predictor
from detr_hf.inference.preprocess import ImageInput, as_rgb
from detr_hf.inference.tile_merging import merged_boxes, merged_segments
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.modeling.tile_record import TileGrid

USUAL = TileGrid(800, 0.2)
"""Of a model that was trained on whole images."""


class TiledPredictor(ImagePredictor):
    """A predictor that looks at large images tile by tile; for the rest it is used as ``Predictor`` is.

    Unlike a ``Predictor``'s, its detections hold only those with a score above ``least_score``: merging all
    that many tiles rank takes time.

    Args:
        predictor: of either stage.
        tile: side of a tile in pixels; smaller images are seen whole. None: as the model was trained, else
            800.
        overlap: the least share of a tile's side that its neighbor sees as well. None: as the model was
            trained, else 0.2.
        least_score: 0 to 1; None: the score threshold.

    Raises:
        UserError: a tile of no size, or an overlap that is no share below 0.9.
    """

    def __init__(
        self,
        predictor: Predictor,
        tile: int | None = None,
        overlap: float | None = None,
        least_score: float | None = None,
    ):
        usual = predictor.tiles or USUAL
        tile = usual.size if tile is None else tile
        overlap = usual.overlap if overlap is None else overlap
        if tile < 1 or not 0 <= overlap <= 0.9:
            raise UserError(f"tiles of {tile} px that overlap by {overlap}: give a size, and 0 to 0.9.")
        self.predictor, self.tile, self.overlap, self._least_score = predictor, tile, overlap, least_score
        self.labels, self.is_panoptic = predictor.labels, predictor.is_panoptic

    @property
    def score_threshold(self) -> float:
        """What has a higher score, 0 to 1, becomes a segment, is drawn and is listed."""
        return self.predictor.score_threshold

    def stream(self, images: Iterable[ImageInput], batch_size: int = 1) -> Iterator[Prediction]:
        """One prediction an image, in order; ``batch_size`` counts tiles, and those of one image at a time.

        Raises:
            UserError: an image cannot be read; its file is named.
        """
        least = self.score_threshold if self._least_score is None else self._least_score
        for image_id, image in enumerate(images):
            pixels = as_rgb(image)
            size_hw = (pixels.shape[0], pixels.shape[1])
            windows = tile_windows(size_hw, self.tile, self.overlap)
            tiles = (pixels[top:bottom, left:right] for left, top, right, bottom in windows)
            found = list(self.predictor.stream(tiles, batch_size))
            yield merge_tiles(found, windows, size_hw, image_id, self.labels, least)


class TileCollector:
    """Predictions of windows as they come, until an image is whole; those of whole images pass through.

    Args:
        labels: of the model.
        windows_of: all windows of an image of some height and width.
    """

    def __init__(
        self, labels: LabelMap, windows_of: Callable[[tuple[int, int]], Sequence[Window]] | None
    ) -> None:
        self._labels, self._windows_of = labels, windows_of
        self._waiting: dict[int, dict[Window, Prediction]] = {}

    def whole(
        self, found: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]
    ) -> Iterator[Prediction]:
        """One prediction for each image that is complete with these, in pixels of the whole image.

        Args:
            found: one a target.
            targets: of windows they have ``window`` and ``whole_size_hw``.
        """
        for one, target in zip(found, targets, strict=True):
            if self._windows_of is None:
                yield one
                continue
            image_id, size_hw = target["image_id"], target["whole_size_hw"]
            windows = self._windows_of(size_hw)
            if len(windows) == 1:
                yield one
                continue
            tiles = self._waiting.setdefault(image_id, {})
            tiles[target["window"]] = one
            if len(tiles) == len(windows):
                del self._waiting[image_id]
                in_order = [tiles[window] for window in windows]
                yield merge_tiles(in_order, windows, size_hw, image_id, self._labels, score_threshold=0.0)


def merge_tiles(
    found: Sequence[Prediction],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    image_id: int,
    labels: LabelMap,
    score_threshold: float,
) -> Prediction:
    """The predictions of the tiles of one image as one.

    Args:
        found: one a tile.
        windows: the tiles.
        size_hw: of the image.
        image_id: of the result.
        labels: tell things, which are matched, from stuff, of which each class is one segment.
        score_threshold: boxes with a lower score are left out.
    """
    sure = [one.detections.above(score_threshold) for one in found]
    detections = merged_boxes(sure, windows, size_hw, image_id, labels)
    maps = [one for one in found if isinstance(one, PanopticPrediction)]
    if not maps:
        return detections
    id_map, segments = merged_segments(maps, windows, size_hw, labels)
    return PanopticPrediction(image_id, id_map, segments, detections)


def load_predictor(
    source: str | Path,
    score_threshold: float | None = None,
    device: str | None = None,
    precision: Precision = "fp32",
) -> Predictor | TiledPredictor:
    """A predictor of a model folder or a Hub id, in tiles where the model was trained in tiles.

    Raises:
        UserError: see ``Predictor.from_pretrained``.
    """
    predictor = Predictor.from_pretrained(source, score_threshold, device, precision)
    return predictor if predictor.tiles is None else TiledPredictor(predictor)
