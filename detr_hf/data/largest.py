"""The few items with the largest keys of many that pass by once."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class Largest(Generic[Item]):
    """Keeps ``count`` items; of items with equal keys the first."""

    count: int
    _heap: list[tuple[int, int, Item]] = field(default_factory=list)
    _seen: int = 0

    def add(self, key: int, item: Item) -> None:
        """Keep the item, if its key is among the largest so far."""
        push = heapq.heappush if len(self._heap) < self.count else heapq.heappushpop
        push(self._heap, (key, -self._seen, item))
        self._seen += 1

    def items(self) -> list[Item]:
        """What was kept, the largest key first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]
