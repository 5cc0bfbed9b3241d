"""How long a run still takes."""

from __future__ import annotations

import pytest

from detr_hf.training.clock import RunClock, duration


def test_steps_and_evaluations_that_are_ahead_take_as_long_as_those_before() -> None:
    clock = RunClock()
    assert clock.seconds_left(10, 2) is None
    clock.add_step(1.0)
    clock.add_step(3.0)
    assert clock.seconds_left(10, 2) == 20.0, "nobody knows yet what an evaluation takes"
    clock.add_evaluation(30.0)
    clock.add_evaluation(50.0)
    assert clock.seconds_left(10, 2) == 100.0 and clock.seconds_left(0, 0) == 0.0


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (9000, "2.5 h")])
def test_a_duration_is_told_in_a_unit_that_suits(seconds: float, told: str) -> None:
    assert duration(seconds) == told
