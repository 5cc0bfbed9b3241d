"""Training aids of the tiny checkpoint's pretraining; none of them is part of the shipped model.

A DETR from scratch learns little for a long time, because one query an object is all the supervision there
is. Two aids shorten that. Dense heads ask every position of the encoder (class and box of the segment it lies
on) and of the backbone's stride-8 map (class of the pixel). Query groups (Chen et al. 2023, Group DETR) give
the decoder several sets of queries that do not see one another, each matched on its own; the first set is the
one that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DetrForObjectDetection

from detr_hf.geometry import boxes_cxcywh_to_xyxy, paired_giou
from detr_hf.modeling.families.base import DetectorOutput

VOID = -100


class DenseHeads(nn.Module):
    """Class of every stride-8 pixel; class and box of every encoder position. Gives one loss for a batch."""

    def __init__(self, width: int, stride8_channels: int, num_classes: int):
        super().__init__()
        self.pixel_class = nn.Conv2d(stride8_channels, num_classes, 1)
        self.position_class = nn.Conv2d(width, num_classes, 1)
        self.position_box = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 4, 1))

    def forward(self, stride8: Tensor, memory: Tensor, targets: Sequence[dict]) -> Tensor:
        """Sum of the pixel, position and box terms for maps ``[B, c, h, w]`` and the batch's targets."""
        pixel_classes, _ = _rasters(targets, stride8.shape[-2:])
        position_classes, boxes = _rasters(targets, memory.shape[-2:])
        predicted = self.position_box(memory).sigmoid().permute(0, 2, 3, 1)
        known = position_classes != VOID
        giou = paired_giou(boxes_cxcywh_to_xyxy(predicted[known]), boxes_cxcywh_to_xyxy(boxes[known]))
        l1 = (predicted[known] - boxes[known]).abs().sum(-1)
        return (
            functional.cross_entropy(self.pixel_class(stride8), pixel_classes, ignore_index=VOID)
            + functional.cross_entropy(self.position_class(memory), position_classes, ignore_index=VOID)
            + (5 * l1 + 2 * (1 - giou)).mean()
        )


def _rasters(targets: Sequence[dict], size_hw: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Class ``int64 [B, h, w]`` (VOID outside) and box ``[B, h, w, 4]`` of the segment at each cell."""
    classes, boxes = [], []
    for target in targets:
        id_map = target["id_map"][None, None].float()
        cell_ids = functional.interpolate(id_map, tuple(size_hw), mode="nearest-exact")[0, 0].int()
        slot = (cell_ids[..., None] == target["segment_ids"]).int()
        found = slot.any(-1)
        if len(target["segment_ids"]) == 0:
            classes.append(torch.full(tuple(size_hw), VOID))
            boxes.append(torch.zeros(*size_hw, 4))
            continue
        which = slot.argmax(-1)
        classes.append(torch.where(found, target["class_labels"][which], VOID))
        boxes.append(target["boxes_cxcywh_norm"][which])
    return torch.stack(classes), torch.stack(boxes)


class QueryGroups(nn.Module):
    """Further sets of queries beside the model's own; all share the decoder and the heads."""

    def __init__(self, detector: DetrForObjectDetection, groups: int):
        super().__init__()
        own = detector.model.query_position_embeddings.weight
        self.further = nn.Parameter(torch.randn(groups - 1, *own.shape))

    def run(self, detector: DetrForObjectDetection, detected: DetectorOutput) -> tuple[Tensor, Tensor]:
        """Logits ``[L * (G - 1), B, Q, C + 1]`` and boxes of the further groups, like further layers."""
        model = detector.model
        groups, queries, _ = self.further.shape
        assert detected.panoptic is not None
        encoded, mask = detected.panoptic.memory, detected.panoptic.memory_mask
        batch = len(encoded)
        memory = encoded.flatten(2).transpose(1, 2)
        positions = model.position_embedding(
            shape=encoded.shape, device=memory.device, dtype=memory.dtype, mask=mask
        )
        positions = positions.flatten(2).transpose(1, 2)
        embeddings = self.further.flatten(0, 1).expand(batch, -1, -1)
        group = torch.arange(groups).repeat_interleave(queries)
        blocks = torch.zeros(len(group), len(group)).masked_fill(group[:, None] != group, torch.finfo().min)
        hidden, outputs = torch.zeros_like(embeddings), []
        for layer in model.decoder.layers:
            hidden = layer(
                hidden, blocks[None, None], positions, embeddings, memory, encoder_attention_mask=None
            )
            outputs.append(model.decoder.layernorm(hidden))
        stacked = torch.stack(outputs).unflatten(2, (groups, queries)).transpose(1, 2).flatten(1, 2)
        stacked = stacked.unflatten(1, (groups, batch)).flatten(0, 1)
        return detector.class_labels_classifier(stacked), detector.bbox_predictor(stacked).sigmoid()
