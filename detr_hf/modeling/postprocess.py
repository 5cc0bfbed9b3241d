"""From network outputs to predictions in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalize_boxes
from detr_hf.modeling.families.base import DetectorOutput, Family
from detr_hf.modeling.panoptic_merge import MergeSettings, merge_masks
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment


@dataclass(frozen=True)
class QueryScores:
    """What every query is sure of.

    Attributes:
        scores: ``float32 [B, Q]`` probability of its best class, "no object" aside.
        labels: ``int64 [B, Q]`` that class.
        is_object: ``bool [B, Q]``, False where "no object" is likelier still.
    """

    scores: Tensor
    labels: Tensor
    is_object: Tensor

    @classmethod
    def of(cls, family: Family, logits: Tensor) -> QueryScores:
        """Of logits ``[B, Q, K]``."""
        scores, labels = family.scores.probabilities(logits).max(-1)
        return cls(scores, labels, family.scores.is_object(logits))

    def kept(self, score_threshold: float | Tensor, with_masks: bool) -> Tensor:
        """``bool [B, Q]``: the queries that count as found.

        A box counts above ``score_threshold`` (0 to 1). A mask, which takes pixels away from others, must be
        likelier than "no object" besides.
        """
        sure = self.scores > score_threshold
        return sure & self.is_object if with_masks else sure


def detections(family: Family, detected: DetectorOutput, targets: Sequence[Mapping]) -> list[Detections]:
    """What is found in each image as boxes, best first; see ``ClassScores.ranked``.

    Args:
        family: says what the logits mean.
        detected: of the batch; its last layer counts.
        targets: B dicts with ``image_id`` and ``original_size_hw``; boxes are scaled to the latter and
            clipped to it.
    """
    scores, queries, labels = family.scores.ranked(detected.logits[-1])
    boxes = boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1])
    found = []
    for index, target in enumerate(targets):
        size_hw = target["original_size_hw"]
        pixels = clip_boxes_xyxy(denormalize_boxes(boxes[index, queries[index]], size_hw), size_hw)
        found.append(
            Detections(
                image_id=target["image_id"],
                boxes_xyxy_px=pixels.float().cpu().numpy(),
                scores=scores[index].float().cpu().numpy(),
                labels=labels[index].cpu().numpy(),
                queries=queries[index].cpu().numpy(),
            )
        )
    return found


def panoptic_predictions(
    family: Family,
    detected: DetectorOutput,
    masks_of: Callable[[Tensor, Tensor], Tensor],
    targets: Sequence[Mapping],
    canvas_hw: tuple[int, int],
    stuff_ids: Sequence[int],
    merge: MergeSettings,
) -> list[PanopticPrediction]:
    """Segment B images; only queries that are kept need a mask.

    Args:
        family: says what the logits mean.
        detected: of the batch; its last layer counts.
        masks_of: is asked once, for the mask logits ``[M, h, w]`` of the M queries that are kept, given as
            ``int64 [M]`` images of the batch and ``int64 [M]`` queries.
        targets: B dicts with ``image_id``, ``size_hw`` (in the batch, without padding) and
            ``original_size_hw``.
        canvas_hw: size of the padded batch.
        stuff_ids: class ids that are stuff.
        merge: which queries are kept, and which pixels become void.
    """
    queries = QueryScores.of(family, detected.logits[-1])
    image, query = torch.nonzero(queries.kept(merge.score_threshold, with_masks=True), as_tuple=True)
    masks = masks_of(image, query)
    boxes = detections(family, detected, targets)
    predictions = []
    for index, (target, found) in enumerate(zip(targets, boxes, strict=True)):
        mine = image == index
        resized = resize_masks(masks[mine], canvas_hw, target["size_hw"], target["original_size_hw"])
        kept = query[mine]
        labels, scores = queries.labels[index, kept], queries.scores[index, kept]
        id_map, segments = merge_masks(resized, labels, scores, stuff_ids, merge.mask_threshold)
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
