"""Ending a run before its end, so that the same command resumes it; and when to save meanwhile."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from accelerate import Accelerator

from detr_hf.recipe import Recipe, seconds_of
from detr_hf.stop_signals import StopSignals
from detr_hf.training.distributed import sum_over_processes

REASONS = {
    "SIGTERM": "stopped by SIGTERM",
    "SIGINT": "stopped by Ctrl-C",
    "SIGHUP": "stopped because its terminal was closed",
}
OUT_OF_TIME = "the time limit is reached"


@dataclass(frozen=True)
class Decision:
    """What all processes do after a step: stop for a reason, or save and continue."""

    reason: str | None
    save: bool


class SignalHandler:
    """Watches for signals to stop and the time limit, and for the moments to save.

    The loop asks ``sync`` after a step, and every process gets the same answer even where one of them alone
    got a signal.

    Args:
        recipe: with `time_limit` and how often to save.
        accelerator: of the run.
        started: when the run began, of ``time.monotonic``; the time limit counts from then.
    """

    def __init__(self, recipe: Recipe, accelerator: Accelerator, started: float) -> None:
        self.accelerator, self._saving = accelerator, recipe.checkpoint
        limit = None if recipe.time_limit is None else seconds_of(recipe.time_limit)
        self._ends = None if limit is None else started + limit
        self._saved = time.monotonic()
        self._signals = StopSignals()

    def watch(self) -> AbstractContextManager[None]:
        """While open, signals are noted."""
        return self._signals.watch()

    def requested(self) -> bool:
        """Whether this process got a signal to stop, or has run out of time."""
        return self._signals.name is not None or self._is_over()

    def _is_over(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    def saved(self) -> None:
        """Begin to count the minutes to the next save anew."""
        self._saved = time.monotonic()

    def sync(self, step: int) -> Decision:
        """What to do after ``step`` steps; collective: every process asks, and gets the same answer."""
        due = time.monotonic() - self._saved >= 60 * self._saving.every_minutes
        flags = [
            *(self._signals.name == name for name in REASONS),
            self._is_over(),
            # by the clock of the main process alone: no two clocks agree on when a minute is over
            due and self.accelerator.is_main_process,
        ]
        *reasons, save = sum_over_processes(self.accelerator, [float(flag) for flag in flags])
        texts = (*REASONS.values(), OUT_OF_TIME)
        reason = next((text for text, vote in zip(texts, reasons, strict=True) if vote), None)
        every_steps = self._saving.every_steps
        return Decision(reason, save=save > 0 or bool(every_steps and step % every_steps == 0))
