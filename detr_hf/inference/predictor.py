"""The predictor: a model of either stage, in PyTorch or exported, behind one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.inference.batching import batches_of, in_order
from detr_hf.inference.device import Precision, autocast, refuse_unusable, usable_device
from detr_hf.inference.explanation import explain
from detr_hf.inference.onnx_task import OnnxTask, is_export, refuse_half_precision
from detr_hf.inference.pictures import Picture, as_rgb, resize_as, sample_of
from detr_hf.labels import LabelMap
from detr_hf.loading.collate import collate
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.predictions import Explanation, Prediction
from detr_hf.modeling.pretrained import load_finished, load_label_map, load_processor
from detr_hf.recipe import DetectionLoss, MaskLoss, PanopticEvaluation

MASK_CHUNK = 16


class Task(Protocol):
    """What a predictor asks of a model: ``DetectionTask``, ``PanopticTask``, or an exported one.

    Attributes:
        labels: the classes.
        is_panoptic: whether it predicts ``PanopticPrediction``. If so, its ``evaluation`` is a
            ``PanopticEvaluation``, in which the predictor sets the ``score_threshold``.
        patch_side: in pixels, see ``modeling.backbones.patch_side``; None where the whole picture is seen.
    """

    labels: LabelMap

    @property
    def is_panoptic(self) -> bool: ...

    @property
    def patch_side(self) -> int | None: ...

    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> Sequence[Prediction]: ...


class Predictor:
    """A model of either stage, ready to predict.

    Args:
        task: stage 1 or stage 2, with its label map.
        processor: gives the size and the color statistics that the model expects. Where the backbone cuts
            pictures into patches, the sides are rounded to whole ones, so that no rim is lost.
        score_threshold: queries must be surer than this (0 to 1) to become a segment, and to be drawn or
            listed.
        device: where to run; the GPU when there is one.
        precision: "bf16" and "fp16" run the network under autocast; weights and the panoptic merge stay in
            float32.

    Raises:
        UserError: the device or the precision cannot be used here.
    """

    def __init__(
        self,
        task: Task,
        processor: DetrImageProcessor,
        score_threshold: float = 0.85,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
    ):
        self.device = usable_device(device)
        refuse_unusable(precision, self.device)
        self.precision = precision
        self.task: Any = task.to(self.device).eval() if isinstance(task, nn.Module) else task
        self.processor = processor
        self.score_threshold = score_threshold
        self.resize = resize_as(processor, multiple_of=task.patch_side)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        score_threshold: float = 0.85,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
    ) -> Predictor:
        """Load a folder (a run's ``best/``, for example) or a Hub id of either stage, or an exported folder.

        Raises:
            UserError: there is no DETR, or one of its files is missing or does not fit.
        """
        if is_export(source):
            refuse_half_precision(source, precision)
            exported = OnnxTask(source, device)
            return cls(exported, load_processor(str(source)), score_threshold, "cpu")
        task = _load_task(str(source))
        return cls(task, load_processor(str(source)), score_threshold, device, precision)

    @property
    def labels(self) -> LabelMap:
        """The classes that predictions count."""
        return self.task.labels

    @property
    def is_panoptic(self) -> bool:
        """Whether predictions are id maps with segments (stage 2), or boxes alone (stage 1)."""
        return self.task.is_panoptic

    @property
    def score_threshold(self) -> float:
        """Queries must be surer than this (0 to 1) to become a segment, and to be drawn or listed."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._score_threshold = value
        if self.is_panoptic:
            self.task.evaluation = replace(self.task.evaluation, score_threshold=value)

    def predict(self, images: Iterable[Picture], batch_size: int = 1) -> list[Prediction]:
        """One prediction an image, in order; see ``stream``."""
        return list(self.stream(images, batch_size))

    def stream(self, images: Iterable[Picture], batch_size: int = 1) -> Iterator[Prediction]:
        """One prediction an image, in order, as they are asked for; ``image_id`` counts them from 0.

        Pictures that the model sees at the same size share a batch. Nothing is padded, so a result does not
        depend on its neighbors. Detections hold all queries, best first; call ``above`` on them to keep the
        sure ones.

        Args:
            images: files, ``uint8 [H, W, 3]`` RGB arrays or PIL images. They are read one by one, up to
                ``2 * batch_size`` ahead of the prediction that comes next.
            batch_size: pictures in one pass at most.

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
            return self.task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)

    def explain(self, image: Picture) -> Explanation:
        """Where each kept query of one picture looked, and which mask it drew.

        Raises:
            UserError: the picture cannot be read, or the model is an exported one, whose inside is closed.
        """
        photograph = as_rgb(image)
        batch = collate([sample_of(0, photograph, self.resize, self.processor)]).to(self.device)
        with autocast(self.device, self.precision):
            return explain(self.task, photograph, batch, self.score_threshold)


def _load_task(source: str) -> Task:
    """The model of a folder or of the Hub, whichever kind it is."""
    model = load_finished(source)
    labels = load_label_map(source, model.config)
    if isinstance(model, DetrForSegmentation):
        return PanopticTask(model, labels, MaskLoss(), PanopticEvaluation(), MASK_CHUNK)
    return DetectionTask(model, labels, DetectionLoss())
