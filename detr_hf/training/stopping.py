"""Ending a run before its end, so that the same command goes on from there; and when to save on the way."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

ONE_PRESS = 1.0
"""Seconds within which signals count as one: a terminal and a launcher both pass Ctrl-C on."""


@dataclass(frozen=True)
class Verdict:
    """What all processes do after a step: stop for a reason, or save and go on."""

    reason: str | None
    save: bool


class Stopping:
    """Watches for SIGTERM, Ctrl-C and the time limit, and for the moments to save.

    A signal is only noted; the loop asks ``agreed`` after a step, and every process gets the same answer even
    where one of them alone was told to stop. A second Ctrl-C ends the program at once.

    Args:
        accelerator: of the run.
        time_limit: seconds after ``started`` (of ``time.monotonic``) at which the run stops; None: never.
        started: when the run began.
        every_steps: optimizer steps between saves; None: by time alone.
        every_minutes: between saves, by the clock of the main process.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        time_limit: float | None,
        started: float,
        every_steps: int | None,
        every_minutes: float,
    ) -> None:
        self.accelerator = accelerator
        self._ends = None if time_limit is None else started + time_limit
        self._every_steps, self._every_seconds = every_steps, 60 * every_minutes
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
        if self._signal is None:
            self._signal, self._signalled = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._signalled > ONE_PRESS:
            raise KeyboardInterrupt

    def wanted(self) -> bool:
        """Whether this process has been told to stop, or has run out of time."""
        return self._signal is not None or self._is_over()

    def _is_over(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    def saved(self) -> None:
        """Begin to count the minutes to the next save anew."""
        self._saved = time.monotonic()

    def agreed(self, step: int) -> Verdict:
        """What to do after ``step`` steps; collective: every process asks, and gets the same answer."""
        due = time.monotonic() - self._saved >= self._every_seconds
        flags = [
            self._signal == signal.SIGTERM,
            self._signal == signal.SIGINT,
            self._is_over(),
            due and self.accelerator.is_main_process,
        ]
        if self.accelerator.num_processes > 1:
            votes = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
            flags = [vote > 0 for vote in self.accelerator.reduce(votes, reduction="sum").tolist()]
        reasons = ("stopped by SIGTERM", "stopped by Ctrl-C", "the time limit is reached")
        reason = next((text for text, flag in zip(reasons, flags, strict=False) if flag), None)
        return Verdict(reason, save=flags[3] or bool(self._every_steps and step % self._every_steps == 0))
