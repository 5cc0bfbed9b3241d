"""The predictor: a model of either stage, in PyTorch or exported, behind one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from detr_hf.errors import UserError
from detr_hf.inference.device import Precision, autocast, refuse_unusable, usable_device
from detr_hf.inference.explanation import explain
from detr_hf.inference.image_result import ImagePredictor
from detr_hf.inference.onnx import OnnxTask, is_export
from detr_hf.inference.preprocess import ImageInput, as_rgb, resize_as, sample_of
from detr_hf.labels import LabelMap
from detr_hf.loading.collate import Target, collate
from detr_hf.modeling.families.base import Family, ImageProcessor
from detr_hf.modeling.model_files import load_config, load_label_map, load_processor
from detr_hf.modeling.predictions import Explanation, Prediction
from detr_hf.modeling.pretrained import load_finished
from detr_hf.modeling.task import task_of
from detr_hf.modeling.threshold_record import checked_threshold, read_threshold
from detr_hf.modeling.tile_record import TileGrid, read_tiles

MASK_CHUNK = 16

WAITING = 2
"""An image waits for others of its size until so many batches of images have come after it."""

Sample = tuple[Tensor, Target]


class Predicting(Protocol):
    """What a predictor asks of a model: ``DetectionTask``, ``PanopticTask``, or an exported one.

    Attributes:
        labels: the classes.
        family: of its network.
        is_panoptic: whether it predicts ``PanopticPrediction``. If so, the predictor sets the
            ``score_threshold`` of its ``merge``, a ``MergeSettings``.
        patch_side: in pixels, see ``modeling.backbones.patch_side``; None where the whole image is seen.
    """

    labels: LabelMap
    family: Family

    @property
    def is_panoptic(self) -> bool: ...

    @property
    def patch_side(self) -> int | None: ...

    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> Sequence[Prediction]: ...


class Predictor(ImagePredictor):
    """A model of either stage, ready to predict.

    Args:
        task: stage 1 or stage 2, with its label map.
        processor: gives the size and the color statistics that the model expects. Where the backbone cuts
            images into patches, the sides are rounded to whole ones, so that no rim is lost.
        score_threshold: 0 to 1; what has a higher score becomes a segment, is drawn and is listed. None: the
            usual one of the model's family, 0.85 for DETR and 0.4 where scores are sigmoids.
            ``from_pretrained`` takes the one that was best on the model's validation split first.
        device: where to run; the GPU when there is one.
        precision: "bf16" and "fp16" run the network under autocast; weights and the panoptic merge stay in
            float32.

    Attributes:
        labels: the classes.
        is_panoptic: whether predictions are id maps with segments (stage 2), or boxes alone (stage 1).
        tiles: those that the model was trained in; ``TiledPredictor(predictor)`` predicts in them, while this
            class looks at images whole. None: it was trained on whole images.
        best_threshold: the score threshold that was best on the model's validation split; None: not known.
        highest_score: of all that was predicted so far, also of what is below the threshold and dropped.

    Raises:
        UserError: the device or the precision cannot be used here, or the threshold is none.
    """

    def __init__(
        self,
        task: Predicting,
        processor: ImageProcessor,
        score_threshold: float | None = None,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
    ):
        self.device = usable_device(device)
        refuse_unusable(precision, self.device)
        self.precision = precision
        self.task: Any = task.to(self.device).eval() if isinstance(task, nn.Module) else task
        self.labels, self.is_panoptic = task.labels, task.is_panoptic
        self.processor = processor
        self.score_threshold = (
            task.family.scores.usual_threshold if score_threshold is None else score_threshold
        )
        self.resize = resize_as(processor, multiple_of=task.patch_side)
        self.tiles: TileGrid | None = None
        self.best_threshold: float | None = None
        self.highest_score = 0.0

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        score_threshold: float | None = None,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
    ) -> Predictor:
        """Load a folder (a run's ``best/``, for example) or a Hub id of either stage, or an exported folder.

        Raises:
            UserError: there is no model of a known family, or one of its files is missing or does not fit.
        """
        if is_export(source):
            if precision != "fp32":
                raise UserError(f"{source}: exported in float32; precision {precision} is for PyTorch.")
            task: Any = OnnxTask(source, device)
            config, device = load_config(str(source)), "cpu"
        else:
            model = load_finished(str(source))
            task, config = task_of(model, load_label_map(str(source), model.config)), model.config
        best = read_threshold(config)
        given = best if score_threshold is None else score_threshold
        predictor = cls(task, load_processor(str(source)), given, device, precision)
        predictor.tiles, predictor.best_threshold = read_tiles(config), best
        return predictor

    @property
    def score_threshold(self) -> float:
        """0 to 1; what has a higher score becomes a segment, is drawn and is listed."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._score_threshold = value = checked_threshold(value)
        if self.is_panoptic:
            self.task.merge = replace(self.task.merge, score_threshold=value)

    def stream(self, images: Iterable[ImageInput], batch_size: int = 1) -> Iterator[Prediction]:
        """One prediction an image, in order, as they are asked for; ``image_id`` counts them from 0.

        Images that the model sees at the same size share a batch. Nothing is padded, so a result does not
        depend on its neighbors. Detections hold all that the model ranks (every query of a DETR, the 100 best
        pairs of query and class where scores are sigmoids), best first; ``above`` keeps those with a higher
        score.

        Args:
            images: files, ``uint8 [H, W, 3]`` RGB arrays or PIL images. They are read one by one, up to
                ``2 * batch_size`` ahead of the prediction that comes next.
            batch_size: images in one pass at most.

        Raises:
            UserError: an image cannot be read; its file is named.
        """
        samples = (
            sample_of(index, as_rgb(image), self.resize, self.processor) for index, image in enumerate(images)
        )
        batches = batches_of(samples, batch_size)
        return in_order(found for batch in batches for found in self._predict_batch(batch))

    def _predict_batch(self, samples: Sequence[Any]) -> Sequence[Prediction]:
        batch = collate(samples).to(self.device)
        with autocast(self.device, self.precision):
            found = self.task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)
        scores = [one.detections.scores.max(initial=0.0) for one in found]
        self.highest_score = max(self.highest_score, *map(float, scores))
        return found

    def require_explainable(self) -> None:
        """Raises UserError for an exported model, whose inside is closed."""
        if not isinstance(self.task, nn.Module):
            raise UserError(
                "an exported model cannot be explained; give the folder that it was exported from."
            )

    def explain(self, image: ImageInput) -> Explanation:
        """Where each kept query of one image looked, and which mask it drew.

        Raises:
            UserError: the image cannot be read, or the model cannot be explained.
        """
        self.require_explainable()
        pixels = as_rgb(image)
        batch = collate([sample_of(0, pixels, self.resize, self.processor)]).to(self.device)
        with autocast(self.device, self.precision):
            return explain(self.task, pixels, batch, self.score_threshold)


class _WithPixels(Protocol):
    @property
    def pixels(self) -> np.ndarray: ...


Item = TypeVar("Item", bound=_WithPixels)


def with_predictions(
    predictor: ImagePredictor, items: Iterable[Item], batch_size: int
) -> Iterator[tuple[Item, Prediction]]:
    """Each item with what is found in its ``pixels``, in order; see ``Predictor.stream``."""
    ahead: deque[Item] = deque()

    def pixels() -> Iterator[np.ndarray]:
        for item in items:
            ahead.append(item)
            yield item.pixels

    for predicted in predictor.stream(pixels(), batch_size):
        yield ahead.popleft(), predicted


def batches_of(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Up to ``batch_size`` samples of equal size at a time; their ``image_id`` must count from 0.

    Nothing needs padding then, so that no result depends on its neighbors.

    Raises:
        UserError: ``batch_size`` is no number of images.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise UserError(f"batch_size: must be a whole number from 1 on, got {batch_size!r}.")
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        size_hw = sample[1]["size_hw"]
        group = groups.setdefault(size_hw, [])
        group.append(sample)
        if len(group) == batch_size:
            yield groups.pop(size_hw)
        oldest = next(iter(groups.values()), None)
        if oldest and sample[1]["image_id"] - oldest[0][1]["image_id"] + 1 >= WAITING * batch_size:
            yield groups.pop(oldest[0][1]["size_hw"])
    yield from groups.values()


class _Numbered(Protocol):
    @property
    def image_id(self) -> int: ...


Found = TypeVar("Found", bound=_Numbered)


def in_order(predictions: Iterable[Found]) -> Iterator[Found]:
    """What is found in images whose ``image_id`` count from 0, by that number."""
    done: dict[int, Found] = {}
    due = 0
    for prediction in predictions:
        done[prediction.image_id] = prediction
        while due in done:
            yield done.pop(due)
            due += 1
