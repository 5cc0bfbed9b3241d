"""Text of others, shown and not carried out."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any, cast

import pytest
from tqdm import tqdm

from detr_hf.errors import UserError, exit_with_message
from detr_hf.sanitize import PrintableStream, escape_markdown, markdown_table, printable


def test_codes_for_a_terminal_are_marked() -> None:
    assert printable("a\x1b[31m\nb") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hydra_crane", "hydra_crane"),
        ("_loud_", r"\_loud\_"),
        ("*bold* `code`", r"\*bold\* \`code\`"),
        ("[click](http://x)", r"\[click\](http\://x)"),
        ("see www.x.org", r"see www\.x.org"),
        ("~gone~", r"\~gone\~"),
        ("![x](y)", r"!\[x\](y)"),
        ("<img src=x>", "&lt;img src=x>"),
        ("R&D | one", r"R&amp;D \| one"),
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
    assert escape_markdown(text) == shown


def test_what_is_markdown_itself_keeps_its_emphasis_alone() -> None:
    assert escape_markdown("**a** `b` [c](d) <e>", keep="*`") == r"**a** `b` \[c\](d) &lt;e>"


def test_a_table_of_names_has_one_cell_for_each() -> None:
    table = markdown_table(["class", "AP"], [["a | b", "-"], ["<img src=x>", "0.5"]]).splitlines()
    assert [line.count("|") for line in table] == [3, 3, 4, 3] and len({len(line) for line in table}) == 1
    assert table[2].startswith(r"| a \| b ") and table[2].endswith("|   - |")
    assert table[3].startswith("| &lt;img src=x> |")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("error: \x1b[31mred\x07.jpg\n", "error: ?[31mred?.jpg\n"),
        ("a name\rthat hides its line", "a name?that hides its line"),
        ("\r 50%|###  | \x1b]0;title", "\r 50%|###  | ?]0;title"),
        ("\n\x1b[A\x1b[A", "\n\x1b[A\x1b[A"),
        ("\udcff.jpg", "?.jpg"),
    ],
)
def test_a_terminal_gets_text_whoever_prints(written: str, shown: str) -> None:
    stream = io.StringIO()
    with contextlib.redirect_stdout(cast(Any, PrintableStream(stream))):
        print(written, end="")
    assert stream.getvalue() == shown.replace("?", "\N{REPLACEMENT CHARACTER}")


def test_a_bar_of_progress_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """guards: bars that grow downwards, because their way back was taken for a name's."""
    with exit_with_message():
        for _ in tqdm(range(3), file=sys.stderr, mininterval=0):
            pass
    assert capsys.readouterr().err.count("\r") >= 3


def test_commands_mark_what_names_bring(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        with exit_with_message():
            print("class \x1b[31mred")
            raise UserError("\x1b[2Jgone.jpg: is missing")

    with pytest.raises(SystemExit):
        command()
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err and "gone.jpg: is missing" in told.err
