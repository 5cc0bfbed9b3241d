"""Iterative stratification: items with several labels into parts of given shares (Sechidis et al. 2011)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """What is placed as one: images that belong together."""

    size: int  # number of images
    labels: Mapping[str, int]  # label -> how many of its images have it
    lot: str  # text that decides among equals


def stratify(items: Sequence[Item], shares: Sequence[float], places: Mapping[int, int]) -> list[int]:
    """The part of each item.

    A label whose items are as many as the parts, or more, is in every part wherever moving single items can
    achieve it. Sums of shares are used in one fixed order, so the outcome is the same on every machine.

    Args:
        shares: of each part, summing to 1.
        places: position of an item -> its part, where that is settled; these are not moved.
    """
    bearers: dict[str, set[int]] = {}  # label -> the items that have it
    for at, item in enumerate(items):
        for label in item.labels:
            bearers.setdefault(label, set()).add(at)
    needs = _Needs(items, bearers, shares)
    parts = [-1] * len(items)
    for at, part in places.items():
        parts[at] = part
        needs.take(items[at], part)
    waiting = {label: found - places.keys() for label, found in bearers.items()}
    while waiting := {label: found for label, found in waiting.items() if found}:
        rarest = min(waiting, key=lambda label: (len(waiting[label]), label))
        for at in sorted(waiting[rarest], key=lambda at: (-items[at].size, items[at].lot)):
            parts[at] = needs.neediest(rarest)
            needs.take(items[at], parts[at])
            for label in items[at].labels:
                waiting[label].discard(at)
    _fill_gaps(items, bearers, parts, len(shares), frozenset(places))
    return parts


class _Needs:
    """How many images each part still lacks, in all and of each label."""

    def __init__(
        self, items: Sequence[Item], bearers: Mapping[str, set[int]], shares: Sequence[float]
    ) -> None:
        total = sum(item.size for item in items)
        self._whole = [share * total for share in shares]
        self._lacking = list(self._whole)
        self._of_label = {}
        for label, found in bearers.items():
            count = sum(items[at].labels[label] for at in found)
            # A part lacks at least one image of each label, or rare classes would never be validated.
            least = float(len(found) >= len(shares))
            self._of_label[label] = [max(share * count, least) for share in shares]

    def neediest(self, label: str) -> int:
        """The part that lacks most of the label; once none lacks a whole image of it, most in all."""
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


def _fill_gaps(
    items: Sequence[Item],
    bearers: Mapping[str, set[int]],
    parts: list[int],
    count: int,
    settled: frozenset[int],
) -> None:
    """Move single items into parts that lack a label, where no other label is lost by it."""
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
