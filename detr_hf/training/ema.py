"""An exponential moving average of the weights (Polyak and Juditsky 1992), kept beside those that learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detr_hf.recipe import Ema

LONGEST_MEMORY = 5000  # optimizer steps
MEMORY = 0.1  # of a run
RISE = 0.4  # of the memory


@dataclass(frozen=True)
class Averaging:
    """How an average forgets: the full decay, and the steps over which it rises to it."""

    decay: float
    warmup_steps: float


def fitted(settings: Ema, total_steps: int) -> Averaging:
    """What a recipe says, and where it says nothing, what fits a run of ``total_steps``.

    A memory of 5,000 steps, as long runs have it, would still hold the start of a short one at its end.
    """
    memory = min(LONGEST_MEMORY, MEMORY * total_steps)
    decay = 1 - 1 / max(memory, 1.0) if settings.decay is None else settings.decay
    rise = RISE / (1 - decay) if settings.warmup_steps is None else settings.warmup_steps
    return Averaging(decay, rise)


def decay_at(settings: Averaging, step: int) -> float:
    """The decay at optimizer step ``step``, counted from 1: it rises to the full one over the warm-up."""
    if settings.warmup_steps == 0:
        return settings.decay
    return settings.decay * (1 - math.exp(-step / settings.warmup_steps))


class AveragedWeights:
    """The moving average of everything in a model that learns; frozen weights need none.

    The models of this package keep no running statistics (their batch norms are frozen), so the parameters
    are all there is. Every process holds the same average, because all hold the same weights.

    Args:
        model: whose weights are averaged.
        settings: see ``fitted``.
        tensors: where the average is kept, by parameter name. What a checkpoint gave is continued; empty,
            it is filled with the weights as they are now.
    """

    def __init__(self, model: nn.Module, settings: Averaging, tensors: dict[str, Tensor]) -> None:
        self.settings, self.average = settings, tensors
        self.weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        for name, value in self.weights.items():
            tensors[name] = tensors[name].to(value.device) if name in tensors else value.detach().clone()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in after optimizer step ``step``, counted from 1."""
        average = [self.average[name] for name in self.weights]
        # average += (1 - decay) (weights - average), all tensors in a few kernels and in place
        torch._foreach_lerp_(average, list(self.weights.values()), 1 - decay_at(self.settings, step))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While open, the model holds the average; then its own weights again, bit for bit."""
        # Copies, not an update and its inverse: subtracting what was added would change the last bits.
        own = {name: value.detach().clone() for name, value in self.weights.items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(values[name])
