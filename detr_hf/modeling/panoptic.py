"""Stage 2 as a task: masks for the objects that stage 1 finds (Carion et al. 2020, section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from transformers import DetrForSegmentation

from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.criterion import Normalizers, mask_losses
from detr_hf.modeling.detection import register_class_weights, set_losses
from detr_hf.modeling.detector import run_detector
from detr_hf.modeling.mask_head import mask_logits
from detr_hf.modeling.matcher import MatchingCosts, match
from detr_hf.modeling.postprocess import panoptic_predictions
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.recipe import DetectionLoss, MaskLoss, PanopticEvaluation


class PanopticTask(nn.Module):
    """The stock segmenter, its mask losses, and the panoptic merge. What is saved is ``model``.

    With a frozen detector (``detection_loss`` None) the detector runs without gradients and in eval mode, so
    that its dropout is off and its outputs, and with them the matching, are those of inference.
    """

    is_panoptic = True
    class_weights: Tensor | None

    def __init__(
        self,
        model: DetrForSegmentation,
        labels: LabelMap,
        loss: MaskLoss,
        evaluation: PanopticEvaluation,
        mask_chunk: int,
        detection_loss: DetectionLoss | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__()
        self.model, self.labels, self.loss = model, labels, loss
        self.evaluation, self.mask_chunk = evaluation, mask_chunk
        self.detection_loss = detection_loss
        register_class_weights(self, class_weights)
        norm_in_one_pass(model.detr)
        self.frozen = detection_loss is None
        if self.frozen:
            model.detr.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As usual, but a frozen detector stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.model.detr.eval()
        return self

    @property
    def patch_side(self) -> int | None:
        """Pixels; see ``backbones.patch_side``."""
        return patch_side(self.model.detr)

    def normalizers(self, targets: Sequence[Mapping]) -> Normalizers:
        """This batch's share of what the step's losses are divided by."""
        weight = (self.detection_loss or DetectionLoss()).eos_coefficient
        return Normalizers.of_targets(targets, self.model.config.num_queries, weight, self.class_weights)

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
        layers = self.detection_loss is not None and self.detection_loss.auxiliary
        with torch.no_grad() if self.frozen else nullcontext():
            detected = run_detector(self.model.detr, pixel_values, pixel_mask, all_layers=layers)
        if self.detection_loss is not None:
            terms, matches = set_losses(
                detected, targets, self.detection_loss, normalizers, self.class_weights
            )
        else:
            terms = {"loss": pixel_values.new_zeros(())}
            matches = match(detected.logits, detected.boxes_cxcywh_norm, targets, MatchingCosts())
        image, query = matches.image, matches.query
        if len(image) == 0:  # every process must reach every parameter, so one query passes with weight zero
            image = query = torch.zeros(1, dtype=torch.int64, device=pixel_values.device)
        masks = mask_logits(self.model, detected, image, query, self.mask_chunk).to(detected.logits.dtype)
        canvas_hw = (pixel_values.shape[-2], pixel_values.shape[-1])
        settings = self.loss
        focal, dice = mask_losses(
            masks, targets, matches, canvas_hw, normalizers, settings.focal_alpha, settings.focal_gamma
        )
        loss = (
            terms.pop("loss") + settings.mask_loss_coefficient * focal + settings.dice_loss_coefficient * dice
        )
        return {"loss": loss, "loss_mask": focal.detach(), "loss_dice": dice.detach(), **terms}

    @torch.no_grad()
    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> list[PanopticPrediction]:
        """One id map an image, in original pixels; ``targets`` give ids and sizes only."""
        detected = run_detector(self.model.detr, pixel_values, pixel_mask, all_layers=False)

        def masks_of(image: Tensor, query: Tensor) -> Tensor:
            return mask_logits(self.model, detected, image, query, self.mask_chunk)

        return panoptic_predictions(
            detected.logits[-1],
            detected.boxes_cxcywh_norm[-1],
            masks_of,
            targets,
            canvas_hw=(pixel_values.shape[-2], pixel_values.shape[-1]),
            stuff_ids=self.labels.stuff_ids,
            evaluation=self.evaluation,
        )
