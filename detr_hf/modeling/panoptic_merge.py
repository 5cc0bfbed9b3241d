"""From the masks of a few confident queries to one id map: every pixel belongs to at most one segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TINY_SEGMENT_PX = 4
"""Segments of at most this many pixels are dropped, as in the reference."""


@dataclass(frozen=True)
class MergeSettings:
    """Thresholds between 0 and 1.

    Attributes:
        score_threshold: queries must be surer than this of a class to become a segment.
        mask_threshold: pixels whose best mask probability is lower become void; 0 keeps every pixel.
    """

    score_threshold: float = 0.85
    mask_threshold: float = 0.0


def merge_masks(
    mask_logits: Tensor, labels: Tensor, scores: Tensor, stuff_ids: Sequence[int], mask_threshold: float = 0.0
) -> tuple[Tensor, list[tuple[int, int, float]]]:
    """Give each pixel to the query with the highest mask logit, merge stuff by class, drop tiny segments.

    The rule is the reference's (facebookresearch/detr, ``PostProcessPanoptic``): the arg-max over the kept
    masks, not weighed by the class score, so that an unsure query with a sharp mask still shows; all queries
    of one stuff class become one segment; segments of 4 pixels or fewer are dropped and their pixels shared
    out again, until none is left. Every segment gets an id of its own. The one difference: after its first
    round the reference has forgotten which stuff it merged, and drops all queries of a stuff class but the
    first; here they stay merged.

    Args:
        mask_logits: ``[K, H, W]`` of the kept queries, at the size of the result.
        labels: ``int64 [K]`` class ids.
        scores: ``float [K]`` class probabilities; a merged stuff segment carries the best of its queries.
        stuff_ids: class ids that are stuff.
        mask_threshold: pixels whose best mask probability is lower become void; 0 keeps every pixel.

    Returns:
        An id map ``int32 [H, W]`` (0 = void, otherwise 1..S) and its S segments as (id, class id, score).
    """
    size_hw = mask_logits.shape[-2:]
    alive = torch.arange(len(labels), device=mask_logits.device)
    while len(alive):
        best_logit, winner = mask_logits[alive].max(0)  # [H, W] each
        group = _merge_stuff(labels[alive], stuff_ids)
        owner = group[winner]  # [H, W]: of each pixel the first query of the segment that it belongs to
        if mask_threshold > 0:
            owner = torch.where(best_logit.sigmoid() >= mask_threshold, owner, -1)
        # void is -1, so all are shifted by one and the count of void is dropped
        areas = torch.bincount(owner.flatten() + 1, minlength=len(alive) + 1)[1:]
        big_enough = areas[group] > TINY_SEGMENT_PX
        if bool(big_enough.all()):
            return _number(owner, group, labels[alive], scores[alive])
        alive = alive[big_enough]  # and once more: their pixels go to the next best, who may grow or vanish
    return torch.zeros(size_hw, dtype=torch.int32, device=mask_logits.device), []


def _merge_stuff(labels: Tensor, stuff_ids: Sequence[int]) -> Tensor:
    """For each query the first of its segment, ``int64 [K]``: itself, or the first of its stuff class."""
    own = torch.arange(len(labels), device=labels.device)
    is_stuff = torch.isin(labels, torch.tensor(list(stuff_ids), dtype=labels.dtype, device=labels.device))
    same = (labels[:, None] == labels[None, :]) & is_stuff[:, None] & is_stuff[None, :]
    return torch.where(is_stuff, same.int().argmax(1), own)  # argmax: the first of equals


def _number(
    owner: Tensor, group: Tensor, labels: Tensor, scores: Tensor
) -> tuple[Tensor, list[tuple[int, int, float]]]:
    """Replace owners (indices of queries, -1 = void) by ids 1..S, and list the segments."""
    firsts = torch.unique(group)
    new_id = torch.zeros(len(labels) + 1, dtype=torch.int32, device=owner.device)
    new_id[firsts + 1] = torch.arange(1, len(firsts) + 1, dtype=torch.int32, device=owner.device)
    segments = [
        (number, int(labels[first]), float(scores[group == first].max()))
        for number, first in enumerate(firsts.tolist(), start=1)
    ]
    return new_id[owner + 1], segments
