"""Ending a run when its validation score has stopped rising."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detr_hf.metrics.tables import score_of
from detr_hf.recipe import Recipe


class Patience:
    """How many evaluations ago the score last rose, and whether that is too long.

    Args:
        recipe: of the run; without ``early_stopping`` patience never ends.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.settings = recipe.early_stopping
        self.metric = (self.settings and self.settings.metric) or recipe.checkpoint.best
        self._state = torch.tensor([-math.inf, 0.0], dtype=torch.float64)

    @property
    def best(self) -> float:
        """The best score so far; minus infinity before the first."""
        return float(self._state[0])

    @property
    def waited(self) -> int:
        """Evaluations since then."""
        return int(self._state[1])

    def __str__(self) -> str:
        return f"{self.metric} has not risen above {self.best:.3f} for {self.waited} evaluations"

    @property
    def is_over(self) -> bool:
        """Whether the run should end."""
        return self.settings is not None and self.waited >= self.settings.patience

    def look_at(self, results: dict[str, Any]) -> None:
        """Take one evaluation in."""
        if self.settings is None:
            return
        score = score_of(results, self.metric)
        if score > self.best + self.settings.min_delta:
            self._state[0], self._state[1] = score, 0
        else:
            self._state[1] += 1

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, up to date at any time."""
        return {} if self.settings is None else {"best_and_waited": self._state}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from ``tensors()`` of a checkpoint; empty, with full patience."""
        if tensors:
            self._state.copy_(tensors["best_and_waited"])
