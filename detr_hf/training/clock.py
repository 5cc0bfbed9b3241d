"""How long a run takes from here on, judged by what it took so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class RunClock:
    """Seconds of this process's optimizer steps and evaluations; a resumed run counts anew."""

    started: float = field(default_factory=time.monotonic)
    steps: int = 0
    step_seconds: float = 0.0
    evaluations: int = 0
    evaluation_seconds: float = 0.0

    def add_step(self, seconds: float) -> None:
        """Count one optimizer step."""
        self.steps, self.step_seconds = self.steps + 1, self.step_seconds + seconds

    def add_evaluation(self, seconds: float) -> None:
        """Count one evaluation."""
        self.evaluations, self.evaluation_seconds = self.evaluations + 1, self.evaluation_seconds + seconds

    def seconds_left(self, steps: int, evaluations: int) -> float | None:
        """What so many steps and evaluations will take; None before the first step.

        Until the first evaluation is over, nobody knows what one takes, and they count nothing.
        """
        if not self.steps:
            return None
        ahead = steps * self.step_seconds / self.steps
        return ahead + evaluations * self.evaluation_seconds / max(self.evaluations, 1)


def duration(seconds: float) -> str:
    """In the unit that suits: "40 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
