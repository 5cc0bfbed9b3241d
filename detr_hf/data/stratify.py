"""Iterative stratification: items with several labels into parts of given shares (Sechidis et al. 2011)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """What is placed as one: pictures that belong together.

    Attributes:
        size: number of pictures.
        labels: label -> how many of its pictures have it.
        lot: text that decides among equals.
    """

    size: int
    labels: Mapping[str, int]
    lot: str


def stratify(items: Sequence[Item], shares: Sequence[float], places: Mapping[int, int]) -> list[int]:
    """The part of each item.

    A label whose items are as many as the parts, or more, is in every part wherever moving single items can
    achieve it. Sums of shares are used in one fixed order, so the outcome is the same on every machine.

    Args:
        shares: of each part, summing to 1.
        places: position of an item -> its part, where that is settled; these are not moved.
    """
    needs = _Needs(items, shares)
    parts = [-1] * len(items)
    for at, part in places.items():
        parts[at] = part
        needs.take(items[at], part)
    bearers = _bearers(items, [at for at in range(len(items)) if at not in places])
    while bearers:
        rarest = min(bearers, key=lambda label: (len(bearers[label]), label))
        for at in sorted(bearers[rarest], key=lambda at: (-items[at].size, items[at].lot)):
            parts[at] = needs.neediest(rarest)
            needs.take(items[at], parts[at])
            for label in items[at].labels:
                bearers[label].discard(at)
        bearers = {label: left for label, left in bearers.items() if left}
    _fill_gaps(items, parts, len(shares), frozenset(places))
    return parts


class _Needs:
    """How many pictures each part still lacks, in all and of each label."""

    def __init__(self, items: Sequence[Item], shares: Sequence[float]) -> None:
        total = sum(item.size for item in items)
        self._whole = [share * total for share in shares]
        self._lacking = list(self._whole)
        # A part lacks at least one picture of each label, or rare classes would never be validated.
        self._of_label = {
            label: [max(share * sum(counts), float(len(counts) >= len(shares))) for share in shares]
            for label, counts in _counts(items).items()
        }

    def neediest(self, label: str) -> int:
        """The part that lacks most of the label; once none lacks a whole picture of it, most in all."""
        lacking = self._of_label[label]
        relative = [left / whole for left, whole in zip(self._lacking, self._whole, strict=True)]
        parts = range(len(lacking))
        if max(lacking) < 1:
            return max(parts, key=lambda part: (relative[part], lacking[part], -part))
        return max(parts, key=lambda part: (lacking[part], relative[part], -part))

    def take(self, item: Item, part: int) -> None:
        self._lacking[part] -= item.size
        for label, count in item.labels.items():
            self._of_label[label][part] -= count


def _counts(items: Sequence[Item]) -> dict[str, list[int]]:
    """Label -> the number of pictures in each item that has it."""
    counts: dict[str, list[int]] = {}
    for item in items:
        for label, count in item.labels.items():
            counts.setdefault(label, []).append(count)
    return counts


def _bearers(items: Sequence[Item], chosen: Sequence[int]) -> dict[str, set[int]]:
    """Label -> those of the chosen items that have it."""
    bearers: dict[str, set[int]] = {}
    for at in chosen:
        for label in items[at].labels:
            bearers.setdefault(label, set()).add(at)
    return bearers


def _fill_gaps(items: Sequence[Item], parts: list[int], count: int, settled: frozenset[int]) -> None:
    """Move single items into parts that lack a label, where no other label is lost by it."""
    bearers = _bearers(items, range(len(items)))
    held = {label: Counter(parts[at] for at in found) for label, found in bearers.items()}
    for label in sorted(bearers):
        for gap in range(count):
            if len(bearers[label]) < count or held[label][gap]:
                continue
            able = [
                at
                for at in bearers[label] - settled
                if all(held[other][parts[at]] > 1 for other in items[at].labels)
            ]
            if able:
                moved = min(able, key=lambda at: (items[at].size, items[at].lot))
                for other in items[moved].labels:
                    held[other][parts[moved]] -= 1
                    held[other][gap] += 1
                parts[moved] = gap
