"""Stage 1 as a task: boxes of things and stuff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import DetrForObjectDetection

from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.criterion import Normalizers, box_losses, class_loss
from detr_hf.modeling.detector import DetectorOutput, run_detector
from detr_hf.modeling.matcher import Matches, MatchingCosts, match
from detr_hf.modeling.postprocess import detections
from detr_hf.modeling.predictions import Detections
from detr_hf.recipe import DetectionLoss


class DetectionTask(nn.Module):
    """The stock detector and DETR's set criterion.

    A task answers what the training loop asks: the normalizers of some targets, the losses of a batch and the
    predictions of a batch. What is saved is ``model``, a plain ``DetrForObjectDetection``.
    """

    is_panoptic = False
    class_weights: Tensor | None

    def __init__(
        self,
        model: DetrForObjectDetection,
        labels: LabelMap,
        loss: DetectionLoss,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__()
        self.model, self.labels, self.loss = model, labels, loss
        register_class_weights(self, class_weights)
        norm_in_one_pass(model)

    @property
    def patch_side(self) -> int | None:
        """Pixels; see ``backbones.patch_side``."""
        return patch_side(self.model)

    def normalizers(self, targets: Sequence[Mapping]) -> Normalizers:
        """This batch's share of what the step's losses are divided by."""
        queries, no_object = self.model.config.num_queries, self.loss.eos_coefficient
        return Normalizers.of_targets(targets, queries, no_object, self.class_weights)

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
        detected = run_detector(self.model, pixel_values, pixel_mask, all_layers=self.loss.auxiliary)
        return set_losses(detected, targets, self.loss, normalizers, self.class_weights)[0]

    @torch.no_grad()
    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> list[Detections]:
        """All queries of each image as boxes in original pixels; ``targets`` give ids and sizes only."""
        detected = run_detector(self.model, pixel_values, pixel_mask, all_layers=False)
        return detections(detected.logits[-1], detected.boxes_cxcywh_norm[-1], targets)


def register_class_weights(task: nn.Module, class_weights: Sequence[float] | None) -> None:
    """Give a task the weights of its classes, or None, as a buffer that goes to the task's device with it."""
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
    task.register_buffer("class_weights", weights, persistent=False)


def set_losses(
    detected: DetectorOutput,
    targets: Sequence[Mapping],
    loss: DetectionLoss,
    normalizers: Normalizers,
    class_weights: Tensor | None = None,
) -> tuple[dict[str, Tensor], Matches]:
    """DETR's set criterion over all layers of ``detected``, and the matches of its last layer."""
    logits, boxes = detected.logits, detected.boxes_cxcywh_norm
    matches = match(logits, boxes, targets, MatchingCosts(loss.class_cost, loss.bbox_cost, loss.giou_cost))
    classes = class_loss(logits, targets, matches, loss.eos_coefficient, normalizers, class_weights)
    l1, giou = box_losses(boxes, targets, matches, normalizers)
    per_layer = loss.class_loss_coefficient * classes + loss.bbox_loss_coefficient * l1
    per_layer = per_layer + loss.giou_loss_coefficient * giou
    terms = {"loss": per_layer.sum(), "loss_ce": classes[-1], "loss_bbox": l1[-1], "loss_giou": giou[-1]}
    if len(per_layer) > 1:
        terms["loss_auxiliary"] = per_layer[:-1].sum()
    last = matches.of_layer(len(per_layer) - 1)
    return {name: term if name == "loss" else term.detach() for name, term in terms.items()}, last
