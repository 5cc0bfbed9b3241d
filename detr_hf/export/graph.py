"""What is exported: each stage as one function of tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import DetrForObjectDetection, DetrForSegmentation

from detr_hf.modeling.compute import norm_in_one_pass
from detr_hf.modeling.detector import run_detector
from detr_hf.modeling.mask_head import mask_logits


class DetectorGraph(nn.Module):
    """Stage 1: a picture's pixels to class logits and boxes."""

    def __init__(self, model: DetrForObjectDetection):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 3, H, W]`` and ``int64 [B, H, W]`` to logits ``[B, Q, C + 1]`` and boxes ``[B, Q, 4]``."""
        detected = run_detector(self.model, pixel_values, pixel_mask, all_layers=False)
        return detected.logits[-1], detected.boxes_cxcywh_norm[-1]


class SegmenterGraph(nn.Module):
    """Stage 2: the same, and the masks of those queries alone that are sure of a class.

    All in one graph, so that one call is enough and nothing but results leaves it.
    """

    def __init__(self, model: DetrForSegmentation):
        super().__init__()
        self.model = model

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor, score_threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As stage 1, then mask logits ``[M, h, w]``, and image and query of each, ``int64 [M, 2]``.

        A mask is drawn for a query whose best class, "no object" aside, is likelier than ``score_threshold``,
        ``float32 [1]``. Below 0 that is every query, in order.
        """
        detected = run_detector(self.model.detr, pixel_values, pixel_mask, all_layers=False)
        logits = detected.logits[-1]
        sure = logits.softmax(-1)[..., :-1].amax(-1) > score_threshold
        kept = torch.nonzero(sure)
        drawn = torch.nonzero(_one_at_least(sure))
        masks = mask_logits(self.model, detected, drawn[:, 0], drawn[:, 1], chunk=None)
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


def graph_of(model: DetrForObjectDetection | DetrForSegmentation) -> DetectorGraph | SegmenterGraph:
    """The function of a model of either stage, in eval mode; the model is left as it was."""
    model = copy.deepcopy(model).eval()
    if isinstance(model, DetrForSegmentation):
        norm_in_one_pass(model.detr)
        for module in model.mask_head.modules():
            if type(module) is nn.GroupNorm:
                module.__class__ = TraceableGroupNorm
        return SegmenterGraph(model).eval()
    norm_in_one_pass(model)
    return DetectorGraph(model).eval()
