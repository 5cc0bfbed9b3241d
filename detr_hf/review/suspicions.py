"""Which annotations a model speaks against, and how strongly: five kinds of suspicion, each with a score.

A score is a product of shares from 0 to 1: how sure the model is of what it sees, times how far that is from
what is annotated, measured by how well the model usually does on such objects: of that class, of that size,
as much covered by others. So scores of different kinds can stand in one list. Three of the kinds are those of
ObjectLab (Tkachenko, Thyagarajan and Mueller 2023: overlooked, swapped, badly located); the scores are our
own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from detr_hf.review.evidence import Evidence, Floats

MISSING, UNSUPPORTED, CLASS, MISPLACED, DUPLICATE = KINDS = (
    "missing",  # an object nobody annotated
    "unsupported",  # an annotation that nothing supports
    "class",  # the right place, another class
    "misplaced",  # the right class, a badly placed box or mask
    "duplicate",  # one object annotated twice
)

SAME = 0.5  # IoU from which two boxes are about the same object
NEAR = 0.1  # IoU from which a detection may be of an annotation that is badly placed
PEERS = 50  # annotations of about the same size and cover that say what is usual
OFTEN = 0.1  # a confusion of two classes in this share of the annotations halves a suspicion


@dataclass(frozen=True)
class Suspicion:
    """One suspected fault of an image.

    Attributes:
        kind: one of ``KINDS``.
        image_id: of the data set.
        score: 0 to 1.
        truth: number of the annotation in its image; None where an object is missing.
        detection: number of the detection that speaks against it; None where there is none.
        other: of a duplicate, the annotation that stays.
        iou: of detection and annotation, or of both annotations of a duplicate.
        usual: of like annotations, the mean support (unsupported) or the median IoU (misplaced).
    """

    kind: str
    image_id: int
    score: float
    truth: int | None = None
    detection: int | None = None
    other: int | None = None
    iou: float = 0.0
    usual: float = 1.0


def find_suspicions(images: Sequence[Evidence]) -> list[Suspicion]:
    """All suspicions of some images, the strongest first; every annotation and detection has at most one."""
    judged = [_judged(image) for image in images]
    usual = _usual(images, judged)
    found: list[Suspicion] = []
    at = 0
    for image, one in zip(images, judged, strict=True):
        own = slice(at, at + len(image.truth_labels))
        found += _of_image(image, one, replace(usual, support=usual.support[own], iou=usual.iou[own]))
        at = own.stop
    return sorted(found, key=lambda one: (-one.score, one.image_id, one.kind, one.truth or 0))


@dataclass(frozen=True)
class _Judged:
    """One image; arrays are ``[G]``, of annotations.

    ``support`` is how surely anything of its class is there, ``partner`` the detection of its class that it
    shares most with (-1 for none), ``placed`` their IoU, ``partner_score`` its score; ``rival`` is the surest
    detection of another class on the same box (-1 for none), ``against`` how surely it says so.
    """

    support: Floats
    partner: NDArray[np.int64]
    placed: Floats
    partner_score: Floats
    rival: NDArray[np.int64]
    against: Floats


@dataclass(frozen=True)
class _Usual:
    """What the model usually does.

    ``support [N]`` is the mean support of annotations like each, by class or by size and cover, whichever is
    lower; ``iou [N]`` the median IoU of those like it that have a sure partner; ``confused`` how often the
    model speaks for another class, by (annotated, seen); ``counts`` the annotations by class.
    """

    support: Floats
    iou: Floats
    confused: dict[tuple[int, int], float]
    counts: dict[int, int]

    def confusion(self, annotated: int, seen: int, own: float) -> float:
        """The share of the other annotations of a class that the model takes for another one.

        Of a class with few annotations not much is known: ``PEERS`` that are never confused count besides.
        """
        others = self.confused[annotated, seen] - own
        return max(0.0, others) / (self.counts[annotated] + PEERS)


def _judged(image: Evidence) -> _Judged:
    each = np.arange(len(image.truth_labels))
    if not len(image.scores):
        none, nobody = np.zeros(len(each)), np.full(len(each), -1)
        return _Judged(none, nobody, none, none, nobody, none)
    same, scores = image.labels[:, None] == image.truth_labels, image.scores[:, None]
    support = np.where(same, scores * np.minimum(1, image.iou / SAME), 0).max(0)
    # The partner is what a sure detection says of the place: an unsure one that fits better counts less.
    close = np.where(same & (image.iou >= NEAR), scores * image.iou, 0)
    partner = np.where(close.max(0) > 0, close.argmax(0), -1)
    other = np.where(~same & (image.iou >= SAME) & ~image.truth_crowd, scores, 0)
    rival = np.where(other.max(0) > 0, other.argmax(0), -1)
    return _Judged(
        support,
        partner,
        np.where(partner >= 0, image.iou[partner, each], 0),
        np.where(partner >= 0, image.scores[partner], 0),
        rival,
        other.max(0) * (1 - support),
    )


def _usual(images: Sequence[Evidence], judged: Sequence[_Judged]) -> _Usual:
    if not images:
        return _Usual(np.zeros(0), np.zeros(0), {}, {})
    labels = np.concatenate([image.truth_labels for image in images])
    support, placed, score = (
        np.concatenate([getattr(one, name) for one in judged])
        for name in ("support", "placed", "partner_score")
    )
    traits = np.concatenate([_traits(image) for image in images])
    of_class = np.zeros(len(labels))
    for label in np.unique(labels):
        of_class[labels == label] = support[labels == label].mean()
    matched = (score >= SAME) & (placed >= SAME)
    usual_iou = _of_peers(traits, traits[matched], placed[matched], np.median)
    confused: dict[tuple[int, int], float] = defaultdict(float)
    for image, one in zip(images, judged, strict=True):
        for number in np.flatnonzero(one.rival >= 0).tolist():
            pair = int(image.truth_labels[number]), int(image.labels[one.rival[number]])
            confused[pair] += float(one.against[number])
    support = np.minimum(_of_peers(traits, traits, support, np.mean), of_class)
    return _Usual(support, usual_iou, confused, Counter(labels.tolist()))


def _traits(image: Evidence) -> Floats:
    """``[G, 2]`` what makes annotations hard to find and to place: log area, and share under another one."""
    area = np.maximum(image.truth_boxes[:, 2:].prod(1), 1)
    covered = image.covered.max(1, initial=0)
    return np.stack([np.log(area), covered], 1)


def _of_peers(traits: Floats, known: Floats, values: Floats, average: Callable[..., Floats]) -> Floats:
    """For each row of traits the average of the values of those ``PEERS`` that are most like it."""
    if not len(known):
        return np.ones(len(traits))
    spread = np.maximum(known.std(0), 1e-6)
    _, nearest = cKDTree(known / spread).query(traits / spread, k=min(PEERS, len(known)))
    return np.asarray(average(values[nearest].reshape(len(traits), -1), axis=1), np.float64)


def _of_image(image: Evidence, one: _Judged, usual: _Usual) -> list[Suspicion]:
    """The strongest suspicion of each annotation, and the objects that are missing."""
    best: dict[int, Suspicion] = {}
    candidates = [*_duplicates(image, one), *_classes(image, one, usual), *_misplaced(image, one, usual)]
    for found in [*candidates, *_unsupported(image, one, usual.support)]:
        assert found.truth is not None
        if found.score > 0 and (found.truth not in best or found.score > best[found.truth].score):
            best[found.truth] = found
    used = {found.detection for found in best.values() if found.kind in (CLASS, MISPLACED)}
    return [*best.values(), *_missing(image, one, used)]


def _missing(image: Evidence, one: _Judged, used: set[int | None]) -> Iterator[Suspicion]:
    """A detection that no annotation explains, and that no surer detection repeats."""
    explained = np.zeros(len(image.scores))
    if len(image.truth_labels):
        of_class = (image.labels[:, None] == image.truth_labels) | image.truth_crowd
        explained = np.maximum(image.iou, np.where(of_class, image.inside, 0)).max(1)
    repeats = np.tril(image.own_iou, -1).max(1, initial=0)  # the surest comes first
    partners = set(one.partner.tolist())
    for number, score in enumerate(image.scores.tolist()):
        if number in used or number in partners or repeats[number] >= SAME:
            continue
        total = score * (1 - explained[number]) * (1 - repeats[number])
        yield Suspicion(MISSING, image.image_id, float(total), detection=number)


def _unsupported(image: Evidence, one: _Judged, usual: Floats) -> Iterator[Suspicion]:
    """Nothing of any class is seen there, where an object of this size and class usually is."""
    seen = np.minimum(1, image.iou / SAME) * image.scores[:, None]
    seen = np.maximum(one.support, seen.max(0, initial=0))
    for number in np.flatnonzero(~image.truth_crowd).tolist():
        score = (1 - seen[number]) * usual[number]
        yield Suspicion(UNSUPPORTED, image.image_id, float(score), number, usual=float(usual[number]))


def _classes(image: Evidence, one: _Judged, usual: _Usual) -> Iterator[Suspicion]:
    """Another class on the same box, and not its own; less where the two are often mixed up."""
    for number in np.flatnonzero(one.rival >= 0).tolist():
        rival, against = int(one.rival[number]), float(one.against[number])
        often = usual.confusion(int(image.truth_labels[number]), int(image.labels[rival]), against)
        score = against * OFTEN / (OFTEN + often)
        yield Suspicion(CLASS, image.image_id, score, number, rival, iou=float(image.iou[rival, number]))


def _misplaced(image: Evidence, one: _Judged, usual: _Usual) -> Iterator[Suspicion]:
    """Its detection fits worse than is usual; half as good as usual counts in full."""
    covering = image.spanned
    for number in np.flatnonzero((one.partner >= 0) & ~image.truth_crowd).tolist():
        partner, iou, expected = int(one.partner[number]), float(one.placed[number]), usual.iou[number]
        others = image.truth_labels == image.truth_labels[number]
        others[number] = False
        # A detection that fits another annotation of its class better says nothing of this one; one that
        # spans both took them for one object.
        if others.any() and image.iou[partner, others].max() > iou:
            continue
        spanned = float(covering[partner, others].max(initial=0))
        off = min(1.0, max(0.0, expected - iou) / (expected / 2))
        score = float(one.partner_score[number]) * off * (1 - spanned)
        yield Suspicion(MISPLACED, image.image_id, score, number, partner, iou=iou, usual=float(expected))


def _duplicates(image: Evidence, one: _Judged) -> Iterator[Suspicion]:
    """Two annotations of one class over one another, of which a detection supports one at most."""
    single = ~image.truth_crowd
    alike = (image.truth_labels[:, None] == image.truth_labels) & single & single[:, None]
    pairs = np.argwhere(np.triu(alike & (image.truth_iou >= SAME), 1)).tolist()
    for first, second in pairs:
        worse, better = sorted((first, second), key=lambda at: (one.placed[at], -at))
        # Of two objects, one over the other, the model sees two.
        both = (image.iou[:, [worse, better]] >= SAME).all(1) & (image.labels == image.truth_labels[worse])
        scores = np.sort(image.scores[both])[::-1]
        second_score = float(scores[1]) if len(scores) > 1 else 0.0
        iou = float(image.truth_iou[worse, better])
        yield Suspicion(DUPLICATE, image.image_id, iou * (1 - second_score), worse, other=better, iou=iou)
