"""The rule of the panoptic merge in plain steps, one mask at a time: what the fast ones must agree with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TINY_SEGMENT_PX = 4


def plain_merge(
    masks: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    stuff_ids: Sequence[int],
) -> tuple[NDArray[np.int32], list[tuple[int, float]]]:
    """The rule of the reference (facebookresearch/detr, ``PostProcessPanoptic``) for the panoptic merge.

    Every pixel goes to the query with the highest logit. Queries of one stuff class are one segment; while
    there are segments of 4 pixels or fewer, these are dropped and their pixels shared out again.

    Args:
        masks: logits ``[K, H, W]``.
        labels: class ids ``[K]``.
        scores: ``[K]``, 0 to 1.
        stuff_ids: classes that are stuff.

    Returns:
        Id map ``int32 [H, W]`` with ids 1..S (0 where there is no mask at all), and (class, score) of each
        segment.
    """
    segments = _by_segment(labels, stuff_ids)
    while segments:
        kept = [query for queries in segments for query in queries]
        winner = np.asarray(kept)[masks[kept].argmax(0)]
        areas = [int(np.isin(winner, queries).sum()) for queries in segments]
        if min(areas) > TINY_SEGMENT_PX:
            id_map = np.zeros(winner.shape, np.int32)
            for number, queries in enumerate(segments, start=1):
                id_map[np.isin(winner, queries)] = number
            return id_map, [(int(labels[queries[0]]), float(scores[queries].max())) for queries in segments]
        segments = [queries for queries, area in zip(segments, areas, strict=True) if area > TINY_SEGMENT_PX]
    return np.zeros(masks.shape[1:], np.int32), []


def _by_segment(labels: NDArray[np.int64], stuff_ids: Sequence[int]) -> list[list[int]]:
    """Queries that form a segment together, in the order of their first."""
    segments: dict[tuple[str, int], list[int]] = {}
    for query, label in enumerate(labels.tolist()):
        key = ("stuff", label) if label in stuff_ids else ("thing", query)
        segments.setdefault(key, []).append(query)
    return list(segments.values())
