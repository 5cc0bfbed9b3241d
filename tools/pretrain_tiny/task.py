"""Stage 1 with the pretraining's aids, as a task of the package's training engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from detr_hf.labels import LabelMap
from detr_hf.modeling.criterion import SetCriterion
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.task import DetectionTask
from tools.pretrain_tiny.aids import DENSE_TERMS, STRIDE_8, DenseHeads, DenselyMatched


class AidedDetection(DetectionTask):
    """A ``DetectionTask`` whose losses have the dense terms, and box terms over several groups of queries.

    Args:
        model: a DETR detector; it alone is saved.
        labels: its classes.
        settings: of the criterion.
        groups: sets of queries, the model's own included.
        dense_alone: leave the box terms out: a warm-up of backbone and encoder.
    """

    def __init__(
        self, model: Any, labels: LabelMap, settings: LossSettings, groups: int, dense_alone: bool = False
    ):
        super().__init__(model, labels, settings, groups)
        box_terms = () if dense_alone else self.family.box_terms
        dense_terms = [replace(term, coefficient=groups) for term in DENSE_TERMS]  # of all groups together
        self.criterion = SetCriterion(settings, (*box_terms, *dense_terms), self.family.scores)
        channels = self.family.backbone(model).intermediate_channel_sizes[STRIDE_8]
        self.dense = DenseHeads(model.config.d_model, channels, labels.num_classes)
        self.family.backbone(model).to(memory_format=torch.channels_last)  # quicker on a CPU

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping], normalizers: Normalizers
    ) -> dict[str, Tensor]:
        """As of the plain task, with the dense terms besides."""
        detected = self.run(pixel_values, pixel_mask)
        assert detected.panoptic is not None
        matched = self.criterion.matched(detected.logits, detected.boxes_cxcywh_norm, targets, normalizers)
        plain = {one.name: getattr(matched, one.name) for one in fields(matched)}
        matched = DenselyMatched(**plain, features=detected.panoptic, heads=self.dense)
        return self.criterion(matched, groups=self.num_groups)
