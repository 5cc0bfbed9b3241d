"""The tasks of both stages: what the training loop, the report and the evaluation work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.criterion import SetCriterion
from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.registry import family_of, is_segmenter, mask_head_of
from detr_hf.modeling.loss_terms import MASK_TERMS, LossSettings, MatchedMasks
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.panoptic_merge import MergeSettings
from detr_hf.modeling.postprocess import detections, panoptic_predictions
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from detr_hf.modeling.query_groups import QueryGroups


def detection_losses(
    criterion: SetCriterion,
    detected: DetectorOutput,
    targets: Sequence[Mapping],
    normalizers: Normalizers,
    groups: int = 1,
) -> dict[str, Tensor]:
    """What ``SetCriterion`` gives for the outputs of a detector, its further queries included."""
    matched = criterion.matched(detected.logits, detected.boxes_cxcywh_norm, targets, normalizers)
    further = [criterion.matched_set(queries, targets, normalizers) for queries in detected.further]
    return criterion(matched, further, groups)


class DetectionTask(nn.Module):
    """A stock detector of any family and its set criterion.

    A task answers what the training loop asks: the normalizers of some targets, the losses of a batch and the
    predictions of a batch. What is saved is ``model``, of the family's ``detector_class``.

    Args:
        model: the detector.
        labels: its classes.
        settings: of the losses; the family's when left out.
        query_groups: sets of queries that learn, the model's own included.

    Raises:
        UserError: see ``QueryGroups``.
    """

    is_panoptic = False

    def __init__(
        self, model: Any, labels: LabelMap, settings: LossSettings | None = None, query_groups: int = 1
    ):
        super().__init__()
        self.model, self.labels, self.family = model, labels, family_of(model)
        settings = settings or self.family.defaults.losses
        self.criterion = SetCriterion(settings, self.family.box_terms, self.family.scores)
        self.num_groups = query_groups
        self.groups = QueryGroups(self.family, model, query_groups) if query_groups > 1 else None
        norm_in_one_pass(self.family.backbone(model))

    @property
    def detector(self) -> Any:
        """The model itself."""
        return self.model

    @property
    def patch_side(self) -> int | None:
        """Pixels; see ``backbones.patch_side``."""
        return patch_side(self.family.backbone(self.model))

    def normalizers(self, targets: Sequence[Mapping]) -> Normalizers:
        """This batch's share of what the step's losses are divided by."""
        return self.criterion.normalizers(targets, self.family.num_queries(self.model.config))

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping], normalizers: Normalizers
    ) -> dict[str, Tensor]:
        """Losses of a (micro-)batch: the weighted sum under "loss", to be learned from, and its detached
        terms.

        Args:
            pixel_values: ``[B, 3, H, W]``.
            pixel_mask: ``[B, H, W]``.
            targets: B dicts with ``class_labels`` and ``boxes_cxcywh_norm``.
            normalizers: of the whole optimizer step.
        """
        detected = self.run(pixel_values, pixel_mask)
        return detection_losses(self.criterion, detected, targets, normalizers, self.num_groups)

    def run(self, pixel_values: Tensor, pixel_mask: Tensor) -> DetectorOutput:
        """What the losses are computed from; query groups are like further layers, the model's own last."""
        learner = self.groups or self.family
        return learner.run(self.model, pixel_values, pixel_mask, self.criterion.settings.auxiliary)

    @torch.no_grad()
    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> list[Detections]:
        """The boxes of each image in original pixels; ``targets`` give ids and sizes only."""
        detected = self.family.run(self.model, pixel_values, pixel_mask, all_layers=False)
        return detections(self.family, detected, targets)


class PanopticTask(nn.Module):
    """A stock segmenter, its losses, and the panoptic merge. What is saved is ``model``.

    A frozen detector runs without gradients and in eval mode, so that its dropout is off and its outputs, and
    with them the matching, are those of inference; only the mask terms count then.

    Args:
        model: of the family's ``segmenter_class``.
        labels: its classes.
        settings: of all losses; the paper's when left out.
        merge: thresholds of ``predict``.
        mask_chunk: queries in one pass of the mask head: memory, not result.
        frozen: whether the mask head learns alone.
    """

    is_panoptic = True

    def __init__(
        self,
        model: Any,
        labels: LabelMap,
        settings: LossSettings | None = None,
        merge: MergeSettings | None = None,
        mask_chunk: int = 16,
        frozen: bool = True,
    ):
        super().__init__()
        self.model, self.labels, self.family = model, labels, family_of(model)
        self.mask_head = mask_head_of(model)
        self.merge, self.mask_chunk, self.frozen = merge or MergeSettings(), mask_chunk, frozen
        terms = MASK_TERMS if frozen else (*self.family.box_terms, *MASK_TERMS)
        settings = settings or self.family.defaults.losses
        self.criterion = SetCriterion(settings, terms, self.family.scores)
        norm_in_one_pass(self.family.backbone(self.detector))
        if frozen:
            self.detector.requires_grad_(False).eval()

    @property
    def detector(self) -> Any:
        """Stage 1's part of the model."""
        return self.mask_head.detector_of(self.model)

    @property
    def patch_side(self) -> int | None:
        """Pixels; see ``backbones.patch_side``."""
        return patch_side(self.family.backbone(self.detector))

    def train(self, mode: bool = True) -> Self:
        """As usual, but a frozen detector stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.detector.eval()
        return self

    def normalizers(self, targets: Sequence[Mapping]) -> Normalizers:
        """This batch's share of what the step's losses are divided by."""
        return self.criterion.normalizers(targets, self.family.num_queries(self.model.config))

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping], normalizers: Normalizers
    ) -> dict[str, Tensor]:
        """Losses of a (micro-)batch: the weighted sum under "loss", to be learned from, and its detached
        terms.

        The matching is known before the mask head runs, so only matched queries pass through it.

        Args:
            pixel_values: ``[B, 3, H, W]``.
            pixel_mask: ``[B, H, W]``.
            targets: B dicts with ``class_labels``, ``boxes_cxcywh_norm``, ``segment_ids``, ``id_map``,
                ``size_hw``.
            normalizers: of the whole optimizer step.
        """
        all_layers = self.criterion.settings.auxiliary and not self.frozen
        with torch.no_grad() if self.frozen else nullcontext():
            detected = self.family.run(self.detector, pixel_values, pixel_mask, all_layers)
        logits, boxes = detected.logits, detected.boxes_cxcywh_norm
        matched = self.criterion.matched(logits, boxes, targets, normalizers)
        last = matched.matches.of_layer(len(logits) - 1)
        image, query = last.image, last.query
        if len(image) == 0:  # every process must reach every parameter, so one query passes with weight zero
            image = query = torch.zeros(1, dtype=torch.int64, device=pixel_values.device)
        # float32: under autocast the head gives half precision, too coarse for sums over pixels
        masks = self.mask_head.logits(self.model, detected, image, query, self.mask_chunk).to(logits.dtype)
        canvas_hw = (pixel_values.shape[-2], pixel_values.shape[-1])
        return self.criterion(replace(matched, masks=MatchedMasks.of(masks, targets, last, canvas_hw)))

    @torch.no_grad()
    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> list[PanopticPrediction]:
        """One id map an image, in original pixels; ``targets`` give ids and sizes only."""
        return self.predict_at([self.merge.score_threshold], pixel_values, pixel_mask, targets)[0]

    @torch.no_grad()
    def predict_at(
        self,
        score_thresholds: Sequence[float],
        pixel_values: Tensor,
        pixel_mask: Tensor,
        targets: Sequence[Mapping],
    ) -> list[list[PanopticPrediction]]:
        """What ``predict`` gives at each of some thresholds; the detector runs once."""
        detected = self.family.run(self.detector, pixel_values, pixel_mask, all_layers=False)

        def masks_of(image: Tensor, query: Tensor) -> Tensor:
            return self.mask_head.logits(self.model, detected, image, query, self.mask_chunk)

        canvas_hw = (pixel_values.shape[-2], pixel_values.shape[-1])
        stuff_ids = self.labels.stuff_ids
        merges = [replace(self.merge, score_threshold=value) for value in score_thresholds]
        return [
            panoptic_predictions(self.family, detected, masks_of, targets, canvas_hw, stuff_ids, merge)
            for merge in merges
        ]


Task = DetectionTask | PanopticTask


def task_of(model: Any, labels: LabelMap) -> Task:
    """A finished model, of whichever family and stage, as a task that predicts."""
    return PanopticTask(model, labels) if is_segmenter(model) else DetectionTask(model, labels)
