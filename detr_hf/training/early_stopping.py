"""Ending a run when its validation score has stopped rising."""

from __future__ import annotations

from typing import Any

from detr_hf.metrics.tables import score_of
from detr_hf.recipe import Recipe
from detr_hf.training.state import TrainState


class EarlyStopping:
    """Counts, in ``state``, the evaluations since the score last rose, and tells when they are too many.

    Args:
        recipe: of the run; without ``early_stopping`` the run is never ended.
        state: of the run.
    """

    def __init__(self, recipe: Recipe, state: TrainState) -> None:
        self.settings, self.state = recipe.early_stopping, state
        self.metric = (self.settings and self.settings.metric) or recipe.checkpoint.best

    def __str__(self) -> str:
        best, waited = self.state.stopping_best or 0.0, self.state.stopping_waited
        return f"{self.metric} has not risen above {best:.3f} for {waited} evaluations"

    @property
    def is_due(self) -> bool:
        """Whether the run should end."""
        return self.settings is not None and self.state.stopping_waited >= self.settings.patience

    def update(self, results: dict[str, Any]) -> None:
        """Take one evaluation in."""
        if self.settings is None:
            return
        score, best = score_of(results, self.metric), self.state.stopping_best
        if score is None:  # nothing to judge by
            return
        if best is None or score > best + self.settings.min_delta:
            self.state.stopping_best, self.state.stopping_waited = score, 0
        else:
            self.state.stopping_waited += 1
