"""How unsure a model is of an image, and what it may hold, from the queries that may be objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from detr_hf.inference.queries import ImageQueries, Queries

KEPT_ABOVE = 0.1
"""A query counts from this probability of its best class on. Lower than what is drawn: an object that the
model half sees is what is worth annotating."""

LEAST_SURE = 5
"""The doubt about an image is the mean over so many of its least sure queries; where fewer are kept, the rest
counts as sure. So several unsure objects weigh more than one, and clutter does not weigh without end."""

MEASURES = ("entropy", "margin", "flips")


@dataclass(frozen=True)
class Unsure:
    """The least sure query: its best two readings with their shares; ``other`` is None for "no object"."""

    name: str
    share: float
    other: str | None
    other_share: float


@dataclass(frozen=True)
class Doubt:
    """What a model says about one image.

    Attributes:
        measures: 0 (sure) to 1 of each of ``MEASURES``; without "flips" where the image was seen once.
        best: the highest probability of each class among the kept queries.
        expected: how many objects of each class there are, as the sum of these probabilities.
        unsure: the query with the smallest margin; None where none is kept.
    """

    measures: dict[str, float]
    best: dict[str, float]
    expected: dict[str, float]
    unsure: Unsure | None


def doubt_about(image: ImageQueries, names: list[str]) -> Doubt:
    """Entropy, margin and disagreement of flips of the kept queries, and the classes they stand for.

    Entropy is that of ``distribution`` as a share of the largest possible; margin is 1 less what the best
    reading is ahead of the second; flips is what of a query's probability the mirrored image does not
    confirm: p - max IoU * min(p, p'), over the other view's kept queries of the same class.
    """
    view, kept = image.plain, _kept(image.plain)
    distribution = view.distribution[kept]
    entropy = -(distribution * np.log(np.maximum(distribution, 1e-12))).sum(-1)
    ahead = np.sort(distribution, -1)[:, -2:]
    margin = 1 - (ahead[:, 1] - ahead[:, 0])
    measures = {"entropy": _mean(entropy / math.log(distribution.shape[-1])), "margin": _mean(margin)}
    if image.mirrored is not None:
        both = (_unconfirmed(view, image.mirrored), _unconfirmed(image.mirrored, view))
        measures["flips"] = _mean(np.concatenate(both))
    scores, labels = view.probabilities[kept].max(-1), view.probabilities[kept].argmax(-1)
    best: dict[str, float] = {}
    expected: dict[str, float] = {}
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        name = names[label]
        best[name] = max(best.get(name, 0.0), score)
        expected[name] = expected.get(name, 0.0) + score
    unsure = _readings(distribution[margin.argmax()], names) if len(kept) else None
    return Doubt(measures, best, expected, unsure)


def _kept(view: Queries) -> NDArray[np.intp]:
    return np.flatnonzero(view.probabilities.max(-1) > KEPT_ABOVE)


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.sort(values)[::-1][:LEAST_SURE].sum()) / LEAST_SURE


def _unconfirmed(view: Queries, other: Queries) -> NDArray[np.floating]:
    """What of the probability of each kept query of a view the other view does not confirm ``[K]``."""
    mine, theirs = _kept(view), _kept(other)
    scores, labels = view.probabilities[mine].max(-1), view.probabilities[mine].argmax(-1)
    if not len(theirs):
        return scores
    other_scores = other.probabilities[theirs].max(-1)
    same = labels[:, None] == other.probabilities[theirs].argmax(-1)
    overlap = _iou(view.boxes_xyxy_norm[mine], other.boxes_xyxy_norm[theirs])
    confirmed = same * overlap * np.minimum(scores[:, None], other_scores)
    return scores - confirmed.max(1)


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU ``[N, M]`` of corner boxes."""
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12)


def _readings(distribution: NDArray[np.float32], names: list[str]) -> Unsure:
    """The best class, and what else it may be."""
    first = int(distribution[:-1].argmax())
    rest = distribution.copy()
    rest[first] = -1
    second = int(rest.argmax())
    other = names[second] if second < len(names) else None
    return Unsure(names[first], float(distribution[first]), other, float(distribution[second]))
