"""From network outputs to predictions in pixels of the original photograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalize_boxes
from detr_hf.modeling.panoptic_merge import merge_masks
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from detr_hf.recipe import PanopticEvaluation

MasksOf = Callable[[Tensor, Tensor], Tensor]
"""Mask logits ``[M, h, w]`` of M queries, given as ``int64 [M]`` images of the batch and ``int64 [M]``
queries."""


def detections(logits: Tensor, boxes_cxcywh_norm: Tensor, targets: Sequence[Mapping]) -> list[Detections]:
    """All queries as boxes, best first: one class each, the best that is not "no object".

    Args:
        logits: ``[B, Q, C + 1]``, "no object" last.
        boxes_cxcywh_norm: ``[B, Q, 4]``.
        targets: B dicts with ``image_id`` and ``original_size_hw``; boxes are scaled to the latter and
            clipped to it.
    """
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)
    boxes = boxes_cxcywh_to_xyxy(boxes_cxcywh_norm)
    found = []
    for index, target in enumerate(targets):
        size_hw = target["original_size_hw"]
        order = scores[index].argsort(descending=True, stable=True)
        pixels = clip_boxes_xyxy(denormalize_boxes(boxes[index, order], size_hw), size_hw)
        found.append(
            Detections(
                image_id=target["image_id"],
                boxes_xyxy_px=pixels.float().cpu().numpy(),
                scores=scores[index, order].float().cpu().numpy(),
                labels=labels[index, order].cpu().numpy(),
            )
        )
    return found


def panoptic_predictions(
    logits: Tensor,
    boxes_cxcywh_norm: Tensor,
    masks_of: MasksOf,
    targets: Sequence[Mapping],
    canvas_hw: tuple[int, int],
    stuff_ids: Sequence[int],
    evaluation: PanopticEvaluation,
) -> list[PanopticPrediction]:
    """Segment B images; only queries above ``evaluation.score_threshold`` need a mask.

    Args:
        logits: ``[B, Q, C + 1]``, "no object" last.
        boxes_cxcywh_norm: ``[B, Q, 4]``.
        masks_of: is asked once, for the masks of the queries that are kept.
        targets: B dicts with ``image_id``, ``size_hw`` (in the batch, without padding) and
            ``original_size_hw``.
        canvas_hw: size of the padded batch.
        stuff_ids: class ids that are stuff.
        evaluation: queries must be surer than its ``score_threshold`` of a class; for its
            ``mask_threshold`` see ``merge_masks``.
    """
    scores, labels = logits.softmax(-1).max(-1)
    no_object = logits.shape[-1] - 1
    sure = (scores > evaluation.score_threshold) & (labels != no_object)
    image, query = torch.nonzero(sure, as_tuple=True)
    masks = masks_of(image, query)
    boxes = detections(logits, boxes_cxcywh_norm, targets)
    predictions = []
    for index, (target, found) in enumerate(zip(targets, boxes, strict=True)):
        mine = image == index
        resized = resize_masks(masks[mine], canvas_hw, target["size_hw"], target["original_size_hw"])
        kept = query[mine]
        id_map, segments = merge_masks(
            resized, labels[index, kept], scores[index, kept], stuff_ids, evaluation.mask_threshold
        )
        predictions.append(
            PanopticPrediction(
                image_id=target["image_id"],
                id_map=id_map.cpu().numpy(),
                segments=[Segment(*segment) for segment in segments],
                detections=found,
            )
        )
    return predictions


def resize_masks(
    masks: Tensor, canvas_hw: tuple[int, int], size_hw: tuple[int, int], original_size_hw: tuple[int, int]
) -> Tensor:
    """Mask logits ``[K, h, w]`` of a padded canvas to ``[K, *original_size_hw]``, without the padding.

    An image that fills its canvas is resized in one step, as the stock post-processing does; a padded one is
    first brought to the canvas, cut to its own size, and resized from there.
    """
    if len(masks) == 0:
        return masks.new_zeros(0, *original_size_hw)
    masks = masks[:, None].float()
    if tuple(canvas_hw) != tuple(size_hw):
        masks = functional.interpolate(masks, tuple(canvas_hw), mode="bilinear")
        masks = masks[..., : size_hw[0], : size_hw[1]]
    return functional.interpolate(masks, tuple(original_size_hw), mode="bilinear")[:, 0]
