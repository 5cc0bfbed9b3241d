"""Signals to stop are noted, and given back; a program under ``nohup`` goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from detr_hf.stop_signals import StopSignals


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN])
def handler(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What is done with SIGHUP: the tests themselves may run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, before)


def test_the_first_signal_counts_and_one_that_is_ignored_stays_ignored(handler: Any) -> None:
    signals, ignored = StopSignals(), handler == signal.SIG_IGN
    with signals.watch():
        assert signals.name is None
        signal.raise_signal(signal.SIGHUP)
        assert signals.name == (None if ignored else "SIGHUP")
        signal.raise_signal(signal.SIGTERM)
    assert signals.name == ("SIGTERM" if ignored else "SIGHUP")
    assert signal.getsignal(signal.SIGHUP) == handler
