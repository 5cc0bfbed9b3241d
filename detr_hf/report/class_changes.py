"""Which classes gained and lost from one run to another, with counts of the objects that only one found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import quantity
from detr_hf.metrics.entries import ImageBoxes
from detr_hf.metrics.fates import FOUND, object_fates
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.metrics.pq_counts import ClassCounts

CHANCE = 0.05
"""A change of which chance gives more than this share is not told from noise."""


@dataclass(frozen=True)
class Change:
    """One class of a run, set beside the first run.

    Attributes:
        score: AP (0 to 1), or PQ (0 to 1) where all runs have segments; None where it is not known.
        difference: of the score from that of the first run.
        gained, lost: objects that only this run found, and only the first one; None where the files with the
            results of every image are missing.
    """

    score: float | None
    difference: float | None
    gained: int | None = None
    lost: int | None = None

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "" where chance alone may have made the change."""
        if self.gained is None or self.lost is None or sign_test(self.gained, self.lost) >= CHANCE:
            return ""
        return "better" if self.gained > self.lost else "worse"


@dataclass(frozen=True)
class ClassRow:
    """A class: its validation objects, and a cell for each run; the first run's has no difference."""

    name: str
    objects: int
    cells: list[Change]


def sign_test(gained: int, lost: int) -> float:
    """Chance (0 to 1) of a split at least as uneven if gains and losses were equally likely; two-sided."""
    tosses = gained + lost
    tail = sum(comb(tosses, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**tosses)


def found_objects(results: PerImageResults, num_classes: int, score_threshold: float) -> NDArray[np.int64]:
    """How many objects of each class were found in each image, ``int64 [images, C]``.

    Segments where there are some (IoU above 0.5), else boxes above the threshold (IoU 0.5 or more).
    """
    entries = results.segments if results.segments is not None else results.boxes
    found = np.zeros((len(entries), num_classes), np.int64)
    for row, entry in enumerate(entries):
        if results.segments is not None:
            counts: ClassCounts = entry.content
            found[row, counts.classes] = counts.counts[:, 0]
        else:
            image: ImageBoxes = entry.content
            hit = object_fates(image, score_threshold)[0] == FOUND
            found[row] = np.bincount(image.truth_labels[hit], minlength=num_classes)
    return found


def class_rows(
    names: Sequence[str],
    objects: Sequence[int],
    scores: Sequence[Sequence[float | None]],
    found: Sequence[NDArray[np.int64] | None],
) -> list[ClassRow]:
    """The classes that have objects.

    Args:
        names, objects: of each class; validation objects.
        scores: of each run, of each class.
        found: of each run ``found_objects`` of the same images and classes; None where they are not known.
    """
    rows = []
    for at, (name, count) in enumerate(zip(names, objects, strict=True)):
        if not count:
            continue
        first = scores[0][at]
        cells = [Change(first, None)]
        for of_classes, mine in zip(scores[1:], found[1:], strict=True):
            score = of_classes[at]
            difference = None if score is None or first is None else score - first
            cells.append(Change(score, difference, *_exchanged(found[0], mine, at)))
        rows.append(ClassRow(name, int(count), cells))
    return rows


def _exchanged(
    first: NDArray[np.int64] | None, other: NDArray[np.int64] | None, label: int
) -> tuple[int | None, int | None]:
    """Objects of a class that only the other run found, and only the first one, counted image by image."""
    if first is None or other is None:
        return None, None
    more = other[:, label] - first[:, label]
    return int(more.clip(0).sum()), int((-more).clip(0).sum())


def change_sentences(names: Sequence[str], rows: Sequence[ClassRow]) -> list[str]:
    """One for each run but the first, where the objects found are known: in total, and by class."""
    return [
        sentence
        for at in range(1, len(names))
        if (sentence := _sentence(names[at], names[0], [(row, row.cells[at]) for row in rows]))
    ]


def _sentence(name: str, first: str, cells: list[tuple[ClassRow, Change]]) -> str:
    known = [(row, cell) for row, cell in cells if cell.gained is not None]
    if not known:
        return ""
    gained, lost = sum(cell.gained or 0 for _, cell in known), sum(cell.lost or 0 for _, cell in known)
    objects = quantity(sum(row.objects for row, _ in known), "object")
    by_kind = {
        word: ", ".join(_counted(row, cell) for row, cell in known if cell.verdict == kind)
        for word, kind in (("gain", "better"), ("lose", "worse"))
    }
    beyond = [f"classes that {word} by more than chance: {said}" for word, said in by_kind.items() if said]
    return (
        f"{name} finds {gained} of {objects} that {first} does not find; {first} finds {lost} that {name} "
        f"does not; {'; '.join(beyond) or 'no class differs by more than chance'}."
    )


def _counted(row: ClassRow, cell: Change) -> str:
    return f"{row.name} (+{cell.gained} -{cell.lost} of {row.objects})"
