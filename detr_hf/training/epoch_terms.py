"""Means of the loss terms over the steps of an epoch, also when the epoch is cut in two by a resume."""

from __future__ import annotations

import math
from collections.abc import Sequence


class EpochTerms:
    """A running sum and a count for every name."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, value: float) -> None:
        """Count one step's value; one that is not finite is left out."""
        if math.isfinite(value):
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def clear(self) -> None:
        """Begin the next epoch."""
        self._sums.clear()

    def state(self) -> dict[str, list[float]]:
        """Sum and count of every name, for a checkpoint."""
        return {name: [total, count] for name, (total, count) in self._sums.items()}

    def restore(self, states: Sequence[dict[str, list[float]]], rank: int, world_size: int) -> None:
        """Go on from the states of all processes of the cut epoch.

        With another number of processes the means begin anew: they are then of the steps after the resume.
        """
        self.clear()
        if len(states) == world_size:
            self._sums = {name: (total, int(count)) for name, (total, count) in states[rank].items()}
