"""Ending a run before its end, so that the same command resumes it; and when to save meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from accelerate import Accelerator

from detr_hf.recipe import Recipe, seconds_of
from detr_hf.training.distributed import sum_over_processes

ONE_PRESS = 1.0
"""Seconds within which signals count as one: a terminal and a launcher both pass Ctrl-C on."""

REASONS = ("stopped by SIGTERM", "stopped by Ctrl-C", "the time limit is reached")


@dataclass(frozen=True)
class Decision:
    """What all processes do after a step: stop for a reason, or save and continue."""

    reason: str | None
    save: bool


class SignalHandler:
    """Watches for SIGTERM, Ctrl-C and the time limit, and for the moments to save.

    A signal is only noted; the loop asks ``sync`` after a step, and every process gets the same answer even
    where one of them alone got the signal. A second Ctrl-C ends the program at once.

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
        self._signal: int | None = None
        self._signalled = 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT over, and give them back; outside the main thread there are none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        # Only noted: a step, or a file being written, must not be cut in two.
        if self._signal is None:
            self._signal, self._signalled = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._signalled > ONE_PRESS:
            raise KeyboardInterrupt

    def requested(self) -> bool:
        """Whether this process got a signal to stop, or has run out of time."""
        return self._signal is not None or self._is_over()

    def _is_over(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    def saved(self) -> None:
        """Begin to count the minutes to the next save anew."""
        self._saved = time.monotonic()

    def sync(self, step: int) -> Decision:
        """What to do after ``step`` steps; collective: every process asks, and gets the same answer."""
        due = time.monotonic() - self._saved >= 60 * self._saving.every_minutes
        flags = [
            self._signal == signal.SIGTERM,
            self._signal == signal.SIGINT,
            self._is_over(),
            # by the clock of the main process alone: no two clocks agree on when a minute is over
            due and self.accelerator.is_main_process,
        ]
        votes = sum_over_processes(self.accelerator, [float(flag) for flag in flags])
        reason = next((text for text, vote in zip(REASONS, votes, strict=False) if vote), None)
        every_steps = self._saving.every_steps
        return Decision(reason, save=votes[3] > 0 or bool(every_steps and step % every_steps == 0))
