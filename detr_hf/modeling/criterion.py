"""DETR's criterion (Carion et al. 2020, eq. 2 and appendix A.2; mask losses: section 4.4).

Every term is a plain SUM over what one process sees in one forward pass, divided by a normalizer of the whole
optimizer step. The normalizers depend on the targets alone, so they are known before any forward pass and the
sum over micro-batches and processes is the loss of the whole step, however it was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detr_hf.geometry import boxes_cxcywh_to_xyxy, masks_of_segments, paired_giou
from detr_hf.modeling.matcher import Matches


@dataclass(frozen=True)
class Normalizers:
    """What the terms of one optimizer step are divided by, summed over its micro-batches and processes.

    Attributes:
        objects: number of objects; the divisor of the box and mask terms.
        class_weight_sum: sum of the class weights over all queries; the divisor of the class term. It is what
            ``cross_entropy(weight=...)`` divides by, taken over the step instead of one process's batch.
    """

    objects: float
    class_weight_sum: float

    @classmethod
    def of_targets(
        cls,
        targets: Sequence[Mapping],
        num_queries: int,
        eos_coefficient: float,
        class_weights: Tensor | None = None,
    ) -> Normalizers:
        """The share of one (micro-)batch; add the shares up with ``+``.

        Where a picture has more objects than there are queries, which of them are matched is not known yet:
        each query then counts with the mean weight of the picture's objects.
        """
        counts = [len(target["class_labels"]) for target in targets]
        matched = sum(min(count, num_queries) for count in counts)
        unmatched = num_queries * len(counts) - matched
        weight = float(matched)
        if class_weights is not None:
            of_objects = [float(class_weights[target["class_labels"]].sum()) for target in targets]
            shares = [min(1.0, num_queries / max(count, 1)) for count in counts]
            weight = sum(total * share for total, share in zip(of_objects, shares, strict=True))
        return cls(float(sum(counts)), weight + eos_coefficient * unmatched)

    def __add__(self, other: Normalizers) -> Normalizers:
        return Normalizers(self.objects + other.objects, self.class_weight_sum + other.class_weight_sum)


def class_loss(
    logits: Tensor,
    targets: Sequence[Mapping],
    matches: Matches,
    eos_coefficient: float,
    normalizers: Normalizers,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Weighted cross-entropy of each layer, ``[L]``: matched queries learn their object's class, others "no
    object".

    Args:
        logits: ``[L, B, Q, C + 1]``.
        targets: dicts with ``class_labels int64 [N]``.
        matches: the pairs of all L layers.
        eos_coefficient: weight of "no object" against 1 for every class (the paper's 0.1).
        normalizers: of the whole optimizer step.
        class_weights: ``float32 [C]``; None: 1 for every class.
    """
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:3], no_object, dtype=torch.int64, device=logits.device)
    wanted[matches.layer, matches.image, matches.query] = _gather_objects(targets, matches, "class_labels")
    weight = logits.new_ones(no_object + 1)
    if class_weights is not None:
        weight[:no_object] = class_weights
    weight[no_object] = eos_coefficient
    nll = functional.cross_entropy(logits.flatten(0, 2), wanted.flatten(), weight, reduction="none")
    return nll.view(logits.shape[0], -1).sum(1) / max(normalizers.class_weight_sum, 1e-6)


def box_losses(
    boxes_cxcywh_norm: Tensor, targets: Sequence[Mapping], matches: Matches, normalizers: Normalizers
) -> tuple[Tensor, Tensor]:
    """L1 and generalised-IoU loss of each layer, ``[L]`` and ``[L]``, over matched pairs.

    Args:
        boxes_cxcywh_norm: ``[L, B, Q, 4]``.
        targets: dicts with ``boxes_cxcywh_norm [N, 4]``.
        matches: the pairs of all L layers.
        normalizers: of the whole optimizer step.
    """
    predicted = boxes_cxcywh_norm[matches.layer, matches.image, matches.query]
    truth = _gather_objects(targets, matches, "boxes_cxcywh_norm").to(predicted)
    l1 = (predicted - truth).abs().sum(-1)
    giou = 1 - paired_giou(boxes_cxcywh_to_xyxy(predicted), boxes_cxcywh_to_xyxy(truth))
    zeros = predicted.new_zeros(boxes_cxcywh_norm.shape[0])
    objects = max(normalizers.objects, 1.0)
    return zeros.index_add(0, matches.layer, l1) / objects, zeros.index_add(0, matches.layer, giou) / objects


def mask_losses(
    mask_logits: Tensor,
    targets: Sequence[Mapping],
    matches: Matches,
    canvas_hw: tuple[int, int],
    normalizers: Normalizers,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Focal (Lin et al. 2017) and dice (Milletari et al. 2016) loss of the matched masks, two scalars.

    As in the reference, predictions are upsampled bilinearly to the canvas and compared with the full-size
    truth. Unlike it, the canvas is then cut to the real image, so that padding never enters the mean of the
    focal term.

    Args:
        mask_logits: ``[M, h, w]`` one map for each pair, in the order of ``matches``.
        targets: dicts with ``id_map int32 [H, W]``, ``segment_ids [N]`` and ``size_hw`` (without padding).
        matches: pairs of one layer, ordered by image.
        canvas_hw: height and width of the padded batch in pixels.
        normalizers: of the whole optimizer step.
        alpha: focal weight of the foreground against ``1 - alpha``.
        gamma: focal exponent.
    """
    focal, dice = mask_logits.sum() * 0, mask_logits.sum() * 0  # keeps the graph when nothing is matched
    for image, target in enumerate(targets):
        of_image = matches.image == image
        if not bool(of_image.any()):
            continue
        height, width = target["size_hw"]
        ids = target["segment_ids"][matches.object_index[of_image]]
        truth = masks_of_segments(target["id_map"], ids).to(mask_logits.dtype)
        full = functional.interpolate(mask_logits[of_image][:, None], canvas_hw, mode="bilinear")
        predicted = full[:, 0, :height, :width]
        focal = focal + _focal_sum(predicted, truth, alpha, gamma)
        dice = dice + _dice_sum(predicted, truth)
    objects = max(normalizers.objects, 1.0)
    return focal / objects, dice / objects


def _focal_sum(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sum over masks of the mean focal loss of their pixels; ``[N, H, W]`` each."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = (
        (logits.sigmoid() - truth).abs().clamp(min=1e-12)
    )  # 1 - p_t; at 0 a gamma below 1 has no gradient
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    return (balance * cross_entropy * missed**gamma).flatten(1).mean(1).sum()


def _dice_sum(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum over masks of 1 - dice, smoothed by one pixel as in the reference; ``[N, H, W]`` each."""
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    overlap = 2 * (probability * truth).sum(1)
    return (1 - (overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).sum()


def _gather_objects(targets: Sequence[Mapping], matches: Matches, key: str) -> Tensor:
    """``targets[image][key][object]`` for each pair, ``[M, ...]``."""
    counts = torch.tensor([0] + [len(target[key]) for target in targets[:-1]], device=matches.image.device)
    first = counts.cumsum(0)
    return torch.cat([target[key] for target in targets])[first[matches.image] + matches.object_index]
