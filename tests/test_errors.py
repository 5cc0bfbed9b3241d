"""Words of messages, and what surrounds a command."""

from __future__ import annotations

import io
import os
import sys

import pytest

from detr_hf.errors import exit_with_message, quantity


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (2, "stuff class", "2 stuff classes"),
        (3, "box", "3 boxes"),
        (4, "query", "4 queries"),
        (5, "day", "5 days"),
        (1, "class", "1 class"),
        (2, "patch", "2 patches"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_a_noun_agrees_with_its_number(count: int, noun: str, said: str) -> None:
    assert quantity(count, noun) == said


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("switch", ["HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"])
def test_a_log_file_is_left_without_the_bars_of_libraries(
    switch: str, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_DATASETS", "HF_HUB"):
        monkeypatch.setenv(f"{name}_DISABLE_PROGRESS_BARS", "0")  # so that it is put back
        monkeypatch.delenv(f"{name}_DISABLE_PROGRESS_BARS")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with exit_with_message():
        assert (switch in os.environ) == (not is_terminal)
