"""One number for one image, to find the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_hf.metrics.matching import above, match
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.metrics.pq_counts import ClassCounts


@dataclass(frozen=True)
class ImageQuality:
    """What was right and wrong in one image.

    Attributes:
        image_id: the dataset's id of the image.
        quality: sum of the IoUs of all matches, divided by matched + false / 2 + missed / 2: the formula of
            PQ over all objects of one image; None where there was nothing to find and nothing was found.
        matched, false, missed: objects found, found on nothing, not found.
    """

    image_id: int
    quality: float | None
    matched: int
    false: int
    missed: int


def qualities(results: PerImageResults, score_threshold: float) -> list[ImageQuality]:
    """Every image, the worst first: stage 2 by its segments, stage 1 by boxes above the threshold.

    Of equals the one with more mistakes comes first, then the one with fewer objects; images without any
    quality come last.
    """
    if results.segments is not None:
        found = [_of_segments(entry.image_id, entry.content) for entry in results.segments]
    else:
        found = [_of_boxes(entry.image_id, entry.content, score_threshold) for entry in results.boxes]
    return sorted(found, key=_rank)


def worst_and_best(ranked: list[ImageQuality], count: int) -> tuple[list[ImageQuality], list[ImageQuality]]:
    """Up to ``count`` of either end, none of them twice; the best one first."""
    known = [one for one in ranked if one.quality is not None]
    worst = known[: min(count, (len(known) + 1) // 2)]
    return worst, known[len(worst) :][::-1][:count]


def _rank(one: ImageQuality) -> tuple[bool, float, int, int, int]:
    mistakes = one.false + one.missed
    return one.quality is None, one.quality or 0.0, -mistakes, one.matched, one.image_id


def _of_boxes(image_id: int, image: Any, score_threshold: float) -> ImageQuality:
    sure = above(image, score_threshold)
    matches = match(sure)
    hit = matches.hit
    false = int((~hit & ~matches.ignored).sum())
    missed = int((~sure.truth_crowd).sum() - hit.sum())
    return _quality(image_id, float(matches.iou[hit].sum()), int(hit.sum()), false, missed)


def _of_segments(image_id: int, counts: ClassCounts) -> ImageQuality:
    matched, false, missed = np.asarray(counts.counts).reshape(-1, 3).sum(0).tolist()
    return _quality(image_id, float(np.sum(counts.iou)), matched, false, missed)


def _quality(image_id: int, iou: float, matched: int, false: int, missed: int) -> ImageQuality:
    whole = matched + (false + missed) / 2
    return ImageQuality(image_id, iou / whole if whole else None, matched, false, missed)
