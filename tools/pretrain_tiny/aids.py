"""Training aids of the tiny checkpoint's pretraining; none of them is part of the shipped model.

A DETR from scratch learns little for a long time, because one query an object is all the supervision there
is. Two aids shorten that: query groups, which the package has for every training, and dense terms. These ask
every position of the encoder (class and box of the segment it lies on) and of the backbone's stride-8 map
(class of the pixel): three more rows of the criterion's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detr_hf.geometry import boxes_cxcywh_to_xyxy, paired_giou
from detr_hf.modeling.families.base import PanopticFeatures
from detr_hf.modeling.loss_terms import LossTerm, Matched

VOID = -100  # what cross_entropy leaves out
STRIDE_8 = 1  # number of the feature map


@dataclass(frozen=True, kw_only=True)
class DenselyMatched(Matched):
    """What the dense terms read besides: the maps of the same forward pass, and the heads on them."""

    features: PanopticFeatures
    heads: DenseHeads


class DenseHeads(nn.Module):
    """Class of every stride-8 pixel; class and box of every encoder position."""

    def __init__(self, width: int, stride8_channels: int, num_classes: int):
        super().__init__()
        self.pixel_class = nn.Conv2d(stride8_channels, num_classes, 1)
        self.position_class = nn.Conv2d(width, num_classes, 1)
        self.position_box = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 4, 1))


def pixel_class_loss(matched: Any) -> Tensor:
    """Cross-entropy of the stride-8 map, ``[1]``."""
    stride8 = matched.features.feature_maps[STRIDE_8]
    return _class_loss(matched.heads.pixel_class(stride8), matched.targets)


def position_class_loss(matched: Any) -> Tensor:
    """Cross-entropy of the encoder's positions, ``[1]``."""
    return _class_loss(matched.heads.position_class(matched.features.memory), matched.targets)


def position_box_loss(matched: Any) -> Tensor:
    """L1 and generalized IoU of the encoder's positions, weighed as DETR weighs them, ``[1]``."""
    memory = matched.features.memory
    classes, boxes = rasters(matched.targets, memory.shape[-2:])
    predicted = matched.heads.position_box(memory).sigmoid().permute(0, 2, 3, 1)
    known = classes != VOID
    giou = paired_giou(boxes_cxcywh_to_xyxy(predicted[known]), boxes_cxcywh_to_xyxy(boxes[known]))
    l1 = (predicted[known] - boxes[known]).abs().sum(-1)
    return (5 * l1 + 2 * (1 - giou)).sum()[None] / known.sum().clamp(min=1)


DENSE_TERMS = (
    LossTerm("loss_pixel_class", 1.0, pixel_class_loss),
    LossTerm("loss_position_class", 1.0, position_class_loss),
    LossTerm("loss_position_box", 1.0, position_box_loss),
)


def _class_loss(logits: Tensor, targets: Sequence[Mapping]) -> Tensor:
    classes, _ = rasters(targets, logits.shape[-2:])
    total = functional.cross_entropy(logits, classes, ignore_index=VOID, reduction="sum")
    return total[None] / (classes != VOID).sum().clamp(min=1)


def rasters(targets: Sequence[Mapping], size_hw: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Class ``int64 [B, h, w]`` (VOID outside) and box ``[B, h, w, 4]`` of the segment at each cell.

    All images of the batch have one size: no cell lies on padding.
    """
    classes, boxes = [], []
    for target in targets:
        id_map = target["id_map"][None, None].float()
        cell_ids = functional.interpolate(id_map, tuple(size_hw), mode="nearest-exact")[0, 0].int()
        slot = (cell_ids[..., None] == target["segment_ids"]).int()
        found = slot.any(-1)
        if len(target["segment_ids"]) == 0:
            classes.append(torch.full(tuple(size_hw), VOID, device=id_map.device))
            boxes.append(torch.zeros(*size_hw, 4, device=id_map.device))
            continue
        which = slot.argmax(-1)
        classes.append(torch.where(found, target["class_labels"][which], VOID))
        boxes.append(target["boxes_cxcywh_norm"][which])
    return torch.stack(classes), torch.stack(boxes)
