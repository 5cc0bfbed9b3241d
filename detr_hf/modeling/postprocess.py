"""From network outputs to predictions in pixels of the original photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DetrForSegmentation

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalise_boxes
from detr_hf.modeling.detector import DetectorOutput
from detr_hf.modeling.mask_head import mask_logits
from detr_hf.modeling.panoptic_merge import merge_masks
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment


def detections(detected: DetectorOutput, targets: Sequence[Mapping]) -> list[Detections]:
    """All queries of the last layer as boxes, best first: one class each, the best that is not "no object".

    Args:
        detected: the detector's output for B images.
        targets: dicts with ``image_id`` and ``original_size_hw``; boxes are scaled to the latter and clipped
            to it.
    """
    scores, labels = detected.logits[-1].softmax(-1)[..., :-1].max(-1)
    boxes = boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1])
    found = []
    for index, target in enumerate(targets):
        size_hw = target["original_size_hw"]
        order = scores[index].argsort(descending=True, stable=True)
        pixels = clip_boxes_xyxy(denormalise_boxes(boxes[index, order], size_hw), size_hw)
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
    model: DetrForSegmentation,
    detected: DetectorOutput,
    targets: Sequence[Mapping],
    canvas_hw: tuple[int, int],
    stuff_ids: Sequence[int],
    score_threshold: float,
    mask_threshold: float,
    mask_chunk: int,
) -> list[PanopticPrediction]:
    """Segment B images; only queries above ``score_threshold`` pass through the mask head.

    Args:
        model: the stock segmentation model.
        detected: the detector's output.
        targets: dicts with ``image_id``, ``size_hw`` (in the batch, without padding) and
            ``original_size_hw``.
        canvas_hw: size of the padded batch.
        stuff_ids: class ids that are stuff.
        score_threshold: queries must be surer than this of a class (0 to 1).
        mask_threshold: see ``merge_masks``.
        mask_chunk: queries per pass through the mask head.
    """
    scores, labels = detected.logits[-1].softmax(-1).max(-1)
    no_object = detected.logits.shape[-1] - 1
    image, query = torch.nonzero((scores > score_threshold) & (labels != no_object), as_tuple=True)
    masks = mask_logits(model, detected, image, query, mask_chunk)
    predictions = []
    for index, (target, boxes) in enumerate(zip(targets, detections(detected, targets), strict=True)):
        mine = image == index
        resized = resize_masks(masks[mine], canvas_hw, target["size_hw"], target["original_size_hw"])
        kept = query[mine]
        id_map, segments = merge_masks(
            resized, labels[index, kept], scores[index, kept], stuff_ids, mask_threshold
        )
        predictions.append(
            PanopticPrediction(
                image_id=target["image_id"],
                id_map=id_map.cpu().numpy(),
                segments=[Segment(*segment) for segment in segments],
                detections=boxes,
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
