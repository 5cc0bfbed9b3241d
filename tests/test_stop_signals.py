"""Signals to stop are noted, and given back; a program under ``nohup`` goes on."""

from __future__ import annotations

import signal

from detr_hf.stop_signals import StopSignals


def test_a_closed_terminal_is_noted_and_the_first_signal_counts() -> None:
    before, signals = signal.getsignal(signal.SIGHUP), StopSignals()
    with signals.watch():
        assert signals.name is None
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
    assert signals.name == "SIGHUP"
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals = StopSignals()
        with signals.watch():
            signal.raise_signal(signal.SIGHUP)
        assert signals.name is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
