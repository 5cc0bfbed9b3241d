"""Text of others, shown and not carried out."""

from __future__ import annotations

import pytest

from detr_hf.foreign_text import plain_markdown, printable


def test_codes_for_a_terminal_are_marked() -> None:
    assert printable("a\x1b[31m\nb") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hydra_crane", "hydra_crane"),
        ("_loud_", r"\_loud\_"),
        ("*bold* `code`", r"\*bold\* \`code\`"),
        ("[click](http://x)", r"\[click\](http://x)"),
        ("![x](y)", r"!\[x\](y)"),
        ("<img src=x>", "&lt;img src=x>"),
        ("R&D | one", "R&amp;D &#124; one"),
        ("# first\nsecond", r"\# first second"),
        ("- no list", r"\- no list"),
        ("chiller (27).jpg", "chiller (27).jpg"),
        ("a\\*b*", r"a\\\*b\*"),
        ("bell\x07", "bell\N{REPLACEMENT CHARACTER}"),
        (0.5, "0.5"),
        (-1, "-1"),
    ],
)
def test_markdown_shows_it_and_does_nothing(text: object, shown: str) -> None:
    assert plain_markdown(text) == shown
