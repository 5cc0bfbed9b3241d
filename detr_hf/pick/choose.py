"""From scores to a choice, in time and memory that grow with the number of images, not with its square.

Of each group of near-duplicates the image with the best score stays, and none where one of the group is
labeled. The images with the highest uncertainty x (1 + rarity) are the shortlist, ``SHORTLIST`` times as many
as are asked for. Of these the one is picked that is farthest from all that is labeled or picked, again and
again (greedy k-center; Sener and Savarese 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.duplicates import find_duplicates
from detr_hf.pick.doubt import MEASURES
from detr_hf.pick.scores import Scored

SHORTLIST = 4
BLOCK = 4_000_000
"""So many distances at most are held at once."""


@dataclass(frozen=True)
class Labeled:
    """The images that are labeled already.

    Attributes:
        counts: objects of each class among those that the model learns from; None where nobody knows.
        seen: their scores; all are left out of the choice.
        learned: which of ``seen`` are training images; the choice keeps away from them.
    """

    counts: dict[str, int] | None
    seen: Sequence[Scored]
    learned: NDArray[np.bool_]


@dataclass(frozen=True)
class Pick:
    """One image of the choice.

    Attributes:
        image: its place in the pool.
        score: ``uncertainty * (1 + rarity)``.
        uncertainty: share of the pool that the model is surer of.
        rarity: 0 to 1, probability x rarity of ``rare_class``, the largest of its classes.
        rare_class: None where no class is seen.
        distance: to the nearest image that is labeled or was picked before; None for the first of all.
        twins: places in the pool of its near-duplicates, which are not picked.
    """

    image: int
    score: float
    uncertainty: float
    rarity: float
    rare_class: str | None
    distance: float | None
    twins: list[int]


@dataclass(frozen=True)
class Choice:
    """The picks, best first, and what was left out of the pool before.

    Attributes:
        picks: in the order in which they were taken.
        labeled: images of the pool that are labeled, or nearly the same as one that is.
        twins: images that are nearly the same as one that stayed.
        usual_distance: median over the shortlist of the distance to the nearest labeled image, if any.
    """

    picks: list[Pick]
    labeled: list[int]
    twins: list[int]
    usual_distance: float | None


def choose(pool: Sequence[Scored], labeled: Labeled, count: int, by: str, shortlist: int) -> Choice:
    """Pick ``count`` images of the pool, or all where there are fewer.

    Args:
        pool: at least one image.
        labeled: what is labeled already.
        count: images to pick.
        by: one of ``MEASURES``, or "mean": the mean of the ranks by each.
        shortlist: so many times ``count`` images are chosen from.
    """
    uncertainty = uncertainty_shares(pool, by)
    rarities = class_rarities(labeled.counts if labeled.counts is not None else expected_counts(pool))
    rare = [rarest(scored.doubt.best, rarities) for scored in pool]
    scores = uncertainty * (1 + np.array([value for value, _ in rare]))
    kept, known, twins_of = _without_duplicates(pool, labeled.seen, scores)
    order = sorted(kept, key=lambda at: (-scores[at], at))[: shortlist * count]
    embeddings = np.stack([scored.embedding for scored in pool])[order] if order else np.zeros((0, 1))
    learned = [scored.embedding for scored, is_it in zip(labeled.seen, labeled.learned, strict=True) if is_it]
    nearest = distances_to(embeddings, np.stack(learned)) if learned and order else None
    picks = []
    for place, distance in farthest_first(embeddings, nearest, count):
        at = order[place]
        numbers = (float(scores[at]), float(uncertainty[at]), *rare[at], distance)
        picks.append(Pick(at, *numbers, twins_of.get(at, [])))
    usual = None if nearest is None else float(np.median(nearest))
    return Choice(picks, known, [twin for twins in twins_of.values() for twin in twins], usual)


def uncertainty_shares(pool: Sequence[Scored], by: str) -> NDArray[np.float64]:
    """For each image the share of the pool that the model is surer of, ``[N]``."""
    names = MEASURES if by == "mean" else (by,)
    columns = [np.array([scored.doubt.measures[name] for scored in pool]) for name in names]
    return _share_below(np.mean([_share_below(column) for column in columns], axis=0))


def _share_below(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.searchsorted(np.sort(values), values, "left") / len(values)


def expected_counts(pool: Sequence[Scored]) -> dict[str, float]:
    """How many objects of each class the model sees in the pool."""
    counts: dict[str, float] = {}
    for scored in pool:
        for name, expected in scored.doubt.expected.items():
            counts[name] = counts.get(name, 0.0) + expected
    return counts


def class_rarities(counts: Mapping[str, float]) -> dict[str, float]:
    """0 for the class with most objects to 1 for one with none, by the logarithm of the count."""
    most = math.log1p(max(counts.values(), default=0))
    return {name: 1 - math.log1p(count) / most if most else 0.0 for name, count in counts.items()}


def rarest(best: Mapping[str, float], rarities: Mapping[str, float]) -> tuple[float, str | None]:
    """The largest probability x rarity of the classes of an image, and the class.

    One without a count is none that is annotated, and so not rare, whatever the model sees of it.
    """
    found = [(probability * rarities.get(name, 0.0), name) for name, probability in best.items()]
    return max(found, default=(0.0, None), key=lambda item: item[0])


def _without_duplicates(
    pool: Sequence[Scored], labeled: Sequence[Scored], scores: NDArray[np.float64]
) -> tuple[list[int], list[int], dict[int, list[int]]]:
    """What may be picked, what is labeled, and the near-duplicates of those that may be picked."""
    known: list[int] = []
    twins_of: dict[int, list[int]] = {}
    for group in find_duplicates([scored.print for scored in [*pool, *labeled]]):
        mine = [at for at in group if at < len(pool)]
        if len(mine) < len(group):
            known += mine
        else:
            first = max(mine, key=lambda at: (scores[at], -at))
            twins_of[first] = [at for at in mine if at != first]
    out = {*known, *(twin for twins in twins_of.values() for twin in twins)}
    return [at for at in range(len(pool)) if at not in out], known, twins_of


def distances_to(embeddings: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """From each embedding ``[M, d]`` to the nearest of the others ``[L, d]``: ``[M]``."""
    center = others.mean(0, dtype=np.float64)  # far from the origin, differences of squares lose digits
    mine = embeddings - center
    nearest = np.full(len(mine), np.inf)
    block = max(1, BLOCK // max(len(mine), 1))
    for start in range(0, len(others), block):
        theirs = others[start : start + block] - center
        squares = (mine**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * mine @ theirs.T
        nearest = np.minimum(nearest, squares.min(1))
    return np.sqrt(nearest.clip(0))


def farthest_first(
    embeddings: NDArray[np.floating], nearest: NDArray[np.float64] | None, count: int
) -> list[tuple[int, float | None]]:
    """Which of ``embeddings [M, d]`` to take, each the farthest from all before, and how far it is.

    Args:
        embeddings: of equally far ones the first is taken.
        nearest: distance ``[M]`` of each from what was there before; None: nothing was, and the first of all
            is taken first.
        count: at most so many.
    """
    embeddings = embeddings.astype(np.float64)
    free = np.full(len(embeddings), np.inf) if nearest is None else nearest.copy()
    taken: list[tuple[int, float | None]] = []
    for _ in range(min(count, len(embeddings))):
        at = int(free.argmax())
        taken.append((at, float(free[at]) if np.isfinite(free[at]) else None))
        free = np.minimum(free, np.sqrt(((embeddings - embeddings[at]) ** 2).sum(1)))
        free[at] = -1.0
    return taken
