"""Why classes fail, and what to change: a verdict, the three most useful changes, a sentence a class.

A rule names how many of the objects that a class loses it explains; the rule that explains most speaks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detr_hf.errors import quantity
from detr_hf.metrics.tables import said

# ---- when a rule speaks
LOST_SHARE = 0.3  # of a class's objects; fewer need no reason
LEAST_LOST = 3  # objects, unless the class loses all
EXPLAINED_SHARE = 0.3  # of the lost objects; a rule that explains fewer is silent
FEW_OBJECTS = 100  # in training; the fewer, the more of the loss they explain
RARE_IMAGES = 0.2  # share of the training images below which repeating them helps
LOSES_SHARE = 0.5  # of the objects of a class that look like another, whose own are unsure
BOTH_WAYS_SHARE = 0.15  # of the objects of each of two classes that are taken for the other
INSIDE_SHARE = 0.2  # of a stuff class's boxes that lie inside a box of another
OWN_THRESHOLD = 0.05  # by which the best threshold of a class lies below the one in use
HIDDEN_SHARE = 0.1  # of all objects, right but below the threshold that is used for predictions
F1_GAINED = 0.02  # by another threshold, at least
RAGGED_SQ = 0.7  # mean IoU of the segments found
FEW_STEPS, LOW_SCORE = 500, 0.05  # below both a run is too short for any other advice
THINGS_TO_DO = 3


@dataclass
class ClassFacts:
    """What is known of one class.

    Attributes:
        fates: number of objects by fate, "found" among them.
        taken_for: classes in whose place lost objects of the kinds wrong class and merged were seen.
        seen_as: classes that missed objects look like, below the threshold.
        sq: segmentation quality; None without segments.
        threshold, best_threshold: of scores: in use, and with the best F1 of the class.
        training_objects, training_images, all_training_images: None where they are not counted.
        small: what to say of objects that are too small for the network; None where they are not.
        lost_small: share of the lost boxes that are lost because they are narrower than a cell.
        inside: number of boxes that lie inside a box of another stuff class, by its name.
        lost_inside: of these, how many more are lost than would be if they were lost as often as boxes of the
            run that lie in none.
    """

    name: str
    fates: Mapping[str, int]
    taken_for: Counter[str] = field(default_factory=Counter)
    seen_as: Counter[str] = field(default_factory=Counter)
    sq: float | None = None
    threshold: float = 0.0
    best_threshold: float | None = None
    training_objects: int | None = None
    training_images: int | None = None
    all_training_images: int | None = None
    small: str | None = None
    lost_small: float = 0.0
    inside: Counter[str] = field(default_factory=Counter)
    lost_inside: Mapping[str, float] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        return sum(self.fates.values())

    @property
    def lost(self) -> int:
        return self.objects - self.fates.get("found", 0)

    @property
    def fails(self) -> bool:
        """Whether it loses so many objects that there must be a reason."""
        enough = self.lost >= LEAST_LOST or self.lost == self.objects
        return self.objects > 0 and enough and self.lost >= LOST_SHARE * self.objects

    def of(self, count: int) -> str:
        """ "12 of 40 cone objects" """
        return f"{count} of {self.objects} {self.name} objects"


@dataclass(frozen=True)
class Reason:
    """Why a class fails: ``explained`` objects of those lost."""

    rule: str
    name: str
    explained: float
    sentence: str


Rule = Callable[[ClassFacts, Mapping[str, ClassFacts]], tuple[float, str] | None]


def _small(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    return (one.lost_small * one.lost, one.small) if one.small else None


def _few(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    count, images, of = one.training_objects, one.training_images, one.all_training_images
    if count is None or images is None or not of or count >= FEW_OBJECTS:
        return None
    if not count:
        return one.lost, f"{one.name} has no object in the training images: annotate some"
    found = f"{quantity(count, 'object')} in {images} of {quantity(of, 'training image')}"
    text = f"{one.name} has {found}: annotate more"
    if images < RARE_IMAGES * of:
        text += f"; data.repeat_threshold={4 * images / of:.2g} shows them twice as often"
    return one.lost * (1 - count / FEW_OBJECTS), text


def _two_names(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    """Each is taken for the other; or one name wins, at half the certainty that one name alone would have."""
    remedy = "if both name one thing, merge them in data.labels"
    for name, count in one.taken_for.most_common(1):
        other = others[name]
        back = other.taken_for[one.name]
        if back and back >= BOTH_WAYS_SHARE * other.objects and count >= BOTH_WAYS_SHARE * one.objects:
            text = f"{one.of(count)} are taken for {name}, and {other.of(back)} for {one.name}"
            return one.fates.get("wrong class", 0), f"{text}: {remedy}"
    for loser, winner in [pair for other in others.values() for pair in ((one, other), (other, one))]:
        seen, unsure = (
            loser.taken_for[winner.name] + loser.seen_as[winner.name],
            winner.fates.get("unsure", 0),
        )
        if seen and seen >= LOSES_SHARE * loser.objects and unsure >= LOST_SHARE * winner.objects:
            text = f"{loser.of(seen)} look like {winner.name}, and {winner.of(unsure)} are unsure"
            return seen if one is loser else unsure, f"{text}: {remedy}"
    return None


def _wrong_class(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    if not (count := one.fates.get("wrong class", 0)):
        return None
    name, most = one.taken_for.most_common(1)[0]
    text = f"{one.of(most)} are taken for {name}: check their labels"
    return count, f"{text}, or weigh the class up (loss.class_weights, loss.balanced)"


def _inside(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    name = max(one.lost_inside, key=lambda name: one.lost_inside[name], default=None)
    if name is None or one.inside[name] < INSIDE_SHARE * one.objects:
        return None
    text = f"{one.name} lies inside the box of {name} in {one.inside[name]} of {one.objects}"
    text += ": only masks part them (stage 2); boxes can do without stuff (data.stuff=false)"
    return one.lost_inside[name], text


def _unsure(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    best, count = one.best_threshold, one.fates.get("unsure", 0)
    if not count or best is None or best > one.threshold - OWN_THRESHOLD:
        return None
    text = f"{one.of(count)} are right, but score below {one.threshold:.2f}; its best threshold is {best:.2f}"
    return count, f"{text}: lower evaluation.score_threshold, or --threshold of predictions"


def _merged(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    if not (count := one.fates.get("merged", 0)):
        return None
    name = one.taken_for.most_common(1)[0][0] if one.taken_for else one.name
    text = f"{one.of(count)} are swallowed by a larger segment, mostly {name}"
    return count, f"{text}: stage 1 must find them; see why in its report"


def _void(one: ClassFacts, others: Mapping[str, ClassFacts]) -> tuple[float, str] | None:
    count = one.fates.get("void", 0)
    text = f"{one.of(count)} are left void: lower evaluation.score_threshold or evaluation.mask_threshold"
    return (count, text) if count else None


RULES: Mapping[str, Rule] = {
    "small": _small,
    "few": _few,
    "two names": _two_names,
    "inside": _inside,
    "threshold": _unsure,
    "wrong class": _wrong_class,
    "merged": _merged,
    "void": _void,
}
"""Of two that explain the same, the first one speaks."""

OTHERWISE = {
    "split": "{} are split into several segments: train longer (optim.epochs)",
    "badly placed": "{} are found, but badly placed (IoU of 0.1 to 0.5): train longer (optim.epochs)",
    "unsure": "{} are right, but no surer than what is wrong: annotate more, or train longer (optim.epochs)",
    "missed": "{} are missed: train longer (optim.epochs), or annotate more",
}
"""Where no rule explains enough, by the most frequent of these fates."""


def reason_of(one: ClassFacts, others: Mapping[str, ClassFacts]) -> Reason | None:
    """Why a class fails; None where it does not."""
    if not one.fails:
        ragged = one.sq is not None and one.fates.get("found", 0) >= LEAST_LOST and one.sq < RAGGED_SQ
        text = f"segments of {one.name} are found, but their outlines are off (SQ {said(one.sq, True)})"
        text += ": raise transforms.*.short_edges, or train longer (optim.epochs)"
        return Reason("ragged", one.name, one.objects * (1 - (one.sq or 0)), text) if ragged else None
    spoken = [(name, *found) for name, rule in RULES.items() if (found := rule(one, others)) is not None]
    best = max(spoken, key=lambda entry: entry[1], default=None)
    if best is not None and best[1] >= EXPLAINED_SHARE * one.lost:
        return Reason(best[0], one.name, best[1], best[2])
    fate = max(OTHERWISE, key=lambda name: one.fates.get(name, 0))
    count = one.fates.get(fate, 0)
    return Reason(fate, one.name, count, OTHERWISE[fate].format(one.of(count)))


def hidden_by_threshold(sweep: Mapping[str, Any], objects: int, used: float) -> tuple[float, str] | None:
    """Share of all objects that only the threshold of predictions hides, and what to set instead.

    Args:
        sweep: recall and F1 by threshold, from ``matching.sweep``.
        objects: that it counts.
        used: the threshold of the run's predictions.
    """
    best = sweep["best"]
    if best is None or used <= best["threshold"]:
        return None
    at = int(np.searchsorted(sweep["threshold"], used - 1e-9))
    recall, f1 = (sweep[key][min(at, len(sweep[key]) - 1)] or 0.0 for key in ("recall", "f1"))
    share = best["recall"] - recall
    if share < HIDDEN_SHARE or best["f1"] - f1 < F1_GAINED:
        return None
    equals = np.flatnonzero(np.array([value or 0.0 for value in sweep["f1"]]) >= best["f1"])
    better = sweep["threshold"][equals[len(equals) // 2]]  # not on the edge of a plateau
    f1s = f"F1 {best['f1']:.2f}, now {f1:.2f}"
    return share, (
        f"A score threshold of {used:.2f} hides {round(share * objects)} of {objects} objects that are "
        f"right: set evaluation.score_threshold={better:.2f} ({f1s}), or --threshold"
    )


def too_short(results: Mapping[str, Any], steps: float | None) -> dict[str, Any] | None:
    """The only thing to do after so few steps that the losses of the classes say nothing yet; else None.

    Args:
        results: of the run; box AP decides, or PQ where it has segments.
        steps: that the run took; None where that is not known.
    """
    segments, boxes = (results.get("panoptic") or {}).get("All"), results.get("detection") or {}
    score = segments.get("pq") if segments else boxes.get("AP")
    if steps is None or steps >= FEW_STEPS or score is None or score >= LOW_SCORE:
        return None
    text = f"{quantity(int(steps), 'step')} are too few to judge data or settings by: train on (optim.epochs)"
    return {"rule": "steps", "classes": [], "share": 1.0, "sentence": text}


def most_worth(
    reasons: Sequence[Reason], facts: Mapping[str, ClassFacts], hidden: tuple[float, str] | None
) -> list[dict[str, Any]]:
    """The things most worth doing, the first one first: "rule", "classes", "share" of the objects (mean over
    the classes) that it explains, "sentence". A rule that speaks of several classes is one thing."""
    counted = max(1, sum(one.objects > 0 for one in facts.values()))
    groups: defaultdict[str, list[Reason]] = defaultdict(list)
    for one in sorted(reasons, key=lambda one: -one.explained / facts[one.name].objects):
        if hidden is None or one.rule != "threshold":  # it is told of the whole run
            groups[one.rule].append(one)
    things = [
        {
            "rule": rule,
            "classes": [one.name for one in group],
            "share": sum(one.explained / facts[one.name].objects for one in group) / counted,
            "sentence": group[0].sentence + _and_others([one.name for one in group[1:]]),
        }
        for rule, group in groups.items()
    ]
    if hidden is not None:
        things.append(
            {"rule": "threshold of the run", "classes": [], "share": hidden[0], "sentence": hidden[1]}
        )
    return sorted(things, key=lambda thing: -float(str(thing["share"])))[:THINGS_TO_DO]


def _and_others(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f" (the same of {', '.join(names[:4])}{more})" if names else ""


def scores_of(results: Mapping[str, Any]) -> str:
    """The scores of a run in one phrase: of segments, where it has them."""
    segments, boxes = (results.get("panoptic") or {}).get("All"), results.get("detection") or {}
    if segments and segments.get("pq") is not None:
        sq, rq = segments["sq"], segments["rq"]
        more = "what is not found" if rq < sq else "outlines that are off"
        numbers = ", ".join(f"{name.upper()} {said(segments[name], True)}" for name in ("pq", "sq", "rq"))
        return f"{numbers}, where {more} costs more"
    return f"Box AP {said(boxes.get('AP'))} (AP50 {said(boxes.get('AP50'))})"


def verdict(
    facts: Mapping[str, ClassFacts], scores: str, what: str, gains: Mapping[str, float | None]
) -> list[str]:
    """Three sentences: how good, what is lost, where; of a split without objects, that it has none.

    Args:
        facts: by class.
        scores: of the run, as text.
        what: how objects are found: "with a score above 0.40".
        gains: AP50 that mending each kind of error would add, or none.
    """
    seen = [one for one in facts.values() if one.objects]
    objects, lost = sum(one.objects for one in seen), sum(one.lost for one in seen)
    if not objects:
        return [f"{scores}.", "The split has no objects, so nothing can be said of what is found."]
    fates = Counter[str]()
    for one in seen:
        fates.update({fate: count for fate, count in one.fates.items() if fate != "found"})
    first = f"{scores}: {objects - lost} of {objects} objects are found{what}."
    parts = [f"{count} {fate}" for fate, count in fates.most_common() if count]
    second = f"Lost: {', '.join(parts)}" if lost else "None is lost"
    known = {kind: gain for kind, gain in gains.items() if gain}
    if known:
        kind = max(known, key=lambda name: known[name])
        second += f"; fixing {kind} would add most AP50 (+{known[kind]:.3f})"
    failing = sorted((one for one in seen if one.fails), key=lambda one: -one.lost / one.objects)
    third = f"No class loses {LOST_SHARE:.0%} of its objects or more."
    if failing:
        names = ", ".join(one.name for one in failing[:3]) + (", ..." if len(failing) > 3 else "")
        verb = "loses" if len(failing) == 1 else "lose"
        third = f"{len(failing)} of {quantity(len(seen), 'class')} {verb} {LOST_SHARE:.0%} or more: {names}."
    return [first, f"{second}.", third]
