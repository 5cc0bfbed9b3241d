"""An exponential moving average of the weights (Polyak and Juditsky 1992), kept beside those that learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from detr_hf.recipe import Ema


def decay_at(settings: Ema, step: int) -> float:
    """The decay at optimizer step ``step``, counted from 1: it rises to the full one over the warm-up."""
    if settings.warmup_steps == 0:
        return settings.decay
    return settings.decay * (1 - math.exp(-step / settings.warmup_steps))


class AverageOfWeights:
    """The moving average of everything in a model that learns; frozen weights need none.

    The models of this package keep no running statistics (their batch norms are frozen), so the parameters
    are all there is. Every process holds the same average, because all hold the same weights.

    Args:
        model: whose weights are averaged; it starts as its own average.
        settings: of the recipe.
    """

    def __init__(self, model: nn.Module, settings: Ema) -> None:
        self.settings = settings
        self.weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in after optimizer step ``step``, counted from 1."""
        current = [value.detach() for value in self.weights.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay_at(self.settings, step))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While open, the model holds the average; then its own weights again, bit for bit."""
        own = {name: value.detach().clone() for name, value in self.weights.items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, up to date at any time."""
        return dict(self.average)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from ``tensors()`` of a checkpoint; empty, from the weights as they are now."""
        for name, value in self.average.items():
            value.copy_(tensors[name] if tensors else self.weights[name].detach())

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(values[name])
