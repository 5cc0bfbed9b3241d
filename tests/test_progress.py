"""Bars are for terminals: a log file holds lines."""

from __future__ import annotations

import io
import sys

import pytest

from detr_hf.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_drawn"), [(io.StringIO(), False), (Terminal(), True)])
def test_a_bar_is_drawn_on_a_terminal_alone(
    stream: io.StringIO, is_drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), 3, "checking")) == [0, 1, 2]
    assert ("\r" in stream.getvalue() and "checking" in stream.getvalue()) == is_drawn
    before = len(stream.getvalue())
    assert list(progress(range(3), 3, "checking", is_shown=False)) == [0, 1, 2]
    assert len(stream.getvalue()) == before
