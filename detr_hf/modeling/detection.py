"""Stage 1 as a task: boxes of things and stuff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import patch_side
from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.criterion import LossSettings, SetCriterion
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.postprocess import detections
from detr_hf.modeling.predictions import Detections


class DetectionTask(nn.Module):
    """A stock detector of any family and its set criterion.

    A task answers what the training loop asks: the normalizers of some targets, the losses of a batch and the
    predictions of a batch. What is saved is ``model``, of the family's ``detector_class``.
    """

    is_panoptic = False

    def __init__(self, model: Any, labels: LabelMap, settings: LossSettings | None = None):
        super().__init__()
        self.model, self.labels, self.family = model, labels, family_of(model)
        terms, probabilities = self.family.box_terms, self.family.class_probabilities
        self.criterion = SetCriterion(settings or LossSettings(), terms, probabilities)
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
        all_layers = self.criterion.settings.auxiliary
        detected = self.family.run(self.model, pixel_values, pixel_mask, all_layers)
        return self.criterion(
            self.criterion.matched(detected.logits, detected.boxes_cxcywh_norm, targets, normalizers)
        )

    @torch.no_grad()
    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> list[Detections]:
        """All queries of each image as boxes in original pixels; ``targets`` give ids and sizes only."""
        detected = self.family.run(self.model, pixel_values, pixel_mask, all_layers=False)
        return detections(self.family, detected, targets)
