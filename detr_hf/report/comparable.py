"""Whether the scores of runs can be compared: the same task, classes, images and annotations; if not, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import quantity
from detr_hf.metrics.entries import ImageBoxes
from detr_hf.metrics.per_image_results import PerImageResults

NAMED = 3  # so many classes are named, the others counted


@dataclass(frozen=True)
class Scored:
    """What a run was scored on.

    Attributes:
        name: of the run.
        task: of its recipe; "" where that is not known.
        classes: names, a class id being the place in the list; empty where they are not known.
        objects: of each class in the validation split, as ``best/metrics.json`` counts them.
        per_image: results of every image; None where the file is missing or of another evaluation.
    """

    name: str
    task: str
    classes: Sequence[str]
    objects: Mapping[str, Any]
    per_image: PerImageResults | None


def why_not_comparable(runs: Sequence[Scored]) -> list[str]:
    """A sentence for each run whose scores cannot be set beside those of the first one; empty if all can.

    Runs without any score have nothing to compare, and none.
    """
    with_scores = [run for run in runs if run.objects]
    if not with_scores:
        return []
    first, *others = with_scores
    found = ((other, " and ".join(_differences(first, other))) for other in others)
    return [f"{other.name} differs from {first.name} in {text}" for other, text in found if text]


def _differences(first: Scored, other: Scored) -> Iterator[str]:
    if first.task != other.task and first.task and other.task:
        yield f"its task ({other.task}, not {first.task})"
    if set(first.classes) != set(other.classes):
        here, there = (
            [name for name in one.classes if name not in another.classes]
            for one, another in ((other, first), (first, other))
        )
        only = [
            f"only {run.name} has {_named(names)}" for run, names in ((other, here), (first, there)) if names
        ]
        yield f"its classes ({'; '.join(only)})"
    elif first.per_image is not None and other.per_image is not None:
        yield from _other_data(first, other)
    elif first.objects != other.objects:
        yield "its validation data (classes have other numbers of objects)"


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _other_data(first: Scored, other: Scored) -> Iterator[str]:
    """By the images that each was scored on, and what is annotated in them."""
    ours, theirs = _truth(first), _truth(other)
    both = ours.keys() & theirs.keys()
    if ours.keys() != theirs.keys():
        yield (
            f"its validation images ({len(theirs)} and {len(ours)}, of which {len(both)} have the same id)"
        )
    elif changed := sum(not np.array_equal(ours[one], theirs[one]) for one in both):
        yield (
            "its validation images or their annotations "
            f"({changed} of {quantity(len(both), 'image')} with the same id)"
        )


def _truth(run: Scored) -> dict[int, NDArray[np.float64]]:
    """By image id, its true objects in a fixed order: class by name, crowd or not, box in whole pixels."""
    assert run.per_image is not None
    rank = np.argsort(np.argsort(np.array(run.classes, object))) if len(run.classes) else np.zeros(0, int)
    truth = {}
    for entry in run.per_image.boxes:
        image: ImageBoxes = entry.content
        rows = np.column_stack([rank[image.truth_labels], image.truth_crowd, image.truth_boxes.round()])
        truth[entry.image_id] = rows[np.lexsort(rows.T)]
    return truth
