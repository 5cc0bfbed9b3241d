"""What is measured while training: every loss term, gradient norm, rates, seconds, speed and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.optim import Optimizer

from detr_hf.training.epoch_terms import EpochTerms

MEGABYTE = 2**20
NOT_SHARES = ("gradient_norm", "data_seconds", "step_seconds", "bad_samples")
"""Of what is measured, what does not add up over processes as loss terms do, or not as a mean."""


class Meter:
    """Means over the epoch so far and over the steps since the last line, and the lines made of them.

    Args:
        accelerator: of the run; every process measures, and loss terms are shares that add up.
        optimizer: for its learning rates.
        batch_size: images of one optimizer step, over all processes.
    """

    def __init__(self, accelerator: Accelerator, optimizer: Optimizer, batch_size: int) -> None:
        self.accelerator, self.optimizer, self.batch_size = accelerator, optimizer, batch_size
        self._epoch, self._window = EpochTerms(), EpochTerms()
        self._loading = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Before the first step, and after anything between two steps that is no training."""
        self._started = time.perf_counter()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around the wait for the loader."""
        started = time.perf_counter()
        yield
        self._loading += time.perf_counter() - started

    def add(self, name: str, value: float) -> None:
        """Count one step's value of a loss term (this process's share) or of another number."""
        self._epoch.add(name, value)
        self._window.add(name, value)

    def finish_step(self) -> None:
        """Close the books on one optimizer step."""
        now = time.perf_counter()
        self.add("data_seconds", self._loading)
        self.add("step_seconds", now - self._started)
        self._loading, self._started = 0.0, now

    def epoch_line(self) -> dict[str, Any]:
        """Means over the epoch, which ends here; every process calls it."""
        line = self._line(self._epoch)
        self._epoch.clear()
        self._window.clear()
        return line

    def window_line(self) -> dict[str, Any]:
        """Means over the steps since the last line; every process calls it."""
        line = self._line(self._window)
        self._window.clear()
        return line

    def state(self) -> dict[str, list[float]]:
        """The epoch under way, for a checkpoint."""
        return self._epoch.state()

    def restore(self, states: Sequence[dict[str, list[float]]], rank: int, world_size: int) -> None:
        """Go on from the ``state()`` of every process."""
        self._epoch.restore(states, rank, world_size)

    def _line(self, measured: EpochTerms) -> dict[str, Any]:
        """Loss terms of all processes together; seconds, norm and memory of the main one."""
        of_processes: list[dict[str, list[float]]] = gather_object([measured.state()])
        own = {name: total / count for name, (total, count) in of_processes[0].items()}
        line: dict[str, Any] = {
            name: sum(state[name][0] / state[name][1] for state in of_processes if name in state)
            for name in own
            if name not in NOT_SHARES
        }
        groups = self.optimizer.param_groups
        line["gradient_norm"] = own.get("gradient_norm")
        line["lr"] = {group.get("name", str(index)): group["lr"] for index, group in enumerate(groups)}
        line["data_seconds"] = round(own["data_seconds"], 4)
        line["step_seconds"] = round(own["step_seconds"], 4)
        line["images_per_second"] = round(self.batch_size / own["step_seconds"], 2)
        line["memory_mb"] = round(peak_memory_mb(self.accelerator.device))
        if bad := sum(state.get("bad_samples", [0.0])[0] for state in of_processes):
            line["bad_samples"] = round(bad)
        return line


def peak_memory_mb(device: torch.device) -> float:
    """The most memory taken so far: of the GPU by tensors, or without one by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on a Mac bytes
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024
