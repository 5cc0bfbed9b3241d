"""What is exported: each stage as one function of tensors."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.families.registry import (
    detector_of,
    family_of,
    is_segmenter,
    mask_head_of,
)
from detr_hf.modeling.postprocess import QueryScores


class DetectorGraph(nn.Module):
    """Stage 1: pixels of images to class logits and boxes."""

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.family = model, family_of(model)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 3, H, W]`` and ``int64 [B, H, W]`` to logits ``[B, Q, K]`` and boxes ``[B, Q, 4]``."""
        detected = self.family.run(self.model, pixel_values, pixel_mask, all_layers=False)
        return detected.logits[-1], detected.boxes_cxcywh_norm[-1]


class SegmenterGraph(nn.Module):
    """Stage 2: the same, and the masks of those queries alone that are sure of a class.

    All in one graph, so that one call is enough and nothing but results leaves it.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.family, self.mask_head = model, family_of(model), mask_head_of(model)

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor, score_threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As stage 1, then mask logits ``[M, h, w]``, and image and query of each, ``int64 [M, 2]``.

        A mask is drawn for a query whose best class, "no object" aside, is likelier than ``score_threshold``,
        ``float32 [1]``. Below 0 that is every query, in order.
        """
        detector = self.mask_head.detector_of(self.model)
        detected = self.family.run(detector, pixel_values, pixel_mask, all_layers=False)
        logits = detected.logits[-1]
        # more than are kept at the end: whoever runs the graph has the logits, and decides with the same code
        sure = QueryScores.of(self.family, logits).kept(score_threshold, with_masks=False)
        kept = torch.nonzero(sure)
        drawn = torch.nonzero(_one_at_least(sure))
        masks = self.mask_head.logits(self.model, detected, drawn[:, 0], drawn[:, 1], chunk=None)
        return logits, detected.boxes_cxcywh_norm[-1], masks[: kept.shape[0]], kept


def _one_at_least(sure: Tensor) -> Tensor:
    """``bool [B, Q]``, with the first query of all in place of none: few runtimes reckon with nothing."""
    first = torch.arange(sure.numel(), device=sure.device) == 0
    return sure | (first.view_as(sure) & ~sure.any())


class TraceableGroupNorm(nn.GroupNorm):
    """The stock norm without its check of the size, which cannot be known for a number of masks to come."""

    def forward(self, input: Tensor) -> Tensor:
        """``[M, C, h, w]`` to the same."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def graph_of(model: Any) -> DetectorGraph | SegmenterGraph:
    """The function of a model of either stage, in eval mode; the model is left as it was."""
    model, family = copy.deepcopy(model).eval(), family_of(model)
    norm_in_one_pass(family.backbone(detector_of(model)))
    if not is_segmenter(model):
        return DetectorGraph(model).eval()
    for part in mask_head_of(model).parts(model).values():
        for module in part.modules():
            if type(module) is nn.GroupNorm:
                module.__class__ = TraceableGroupNorm
    return SegmenterGraph(model).eval()
