"""SIGTERM, Ctrl-C and a closed terminal: noted, so that what is under way can be saved first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # the last is none of Windows's

ONE_PRESS = 1.0
"""Seconds within which signals count as one: a terminal and a launcher both pass Ctrl-C on."""


class StopSignals:
    """Notes the first signal to stop; a later Ctrl-C ends the program at once.

    Attributes:
        name: of that signal; None so far.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._noted = 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the signals over, and give them back; outside the main thread there are none.

        One that is ignored stays so: `nohup` lets a program go on when its terminal is closed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        watched = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        before: dict[int, Any] = {number: signal.signal(number, self._note) for number in watched}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        # Only noted: a step, or a file being written, must not be cut in two.
        if self.name is None:
            self.name, self._noted = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._noted > ONE_PRESS:
            raise KeyboardInterrupt
