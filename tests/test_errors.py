"""Words of messages."""

from __future__ import annotations

import pytest

from detr_hf.errors import quantity


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
    ],
)
def test_a_noun_agrees_with_its_number(count: int, noun: str, said: str) -> None:
    assert quantity(count, noun) == said
