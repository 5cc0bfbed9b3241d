"""Text that came with data or models, made harmless where it is shown: names may hold anything.

In a terminal and in Markdown it is done here, in HTML by the engine of the templates (``templating``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TextIO

ENTITIES = {"&": "&amp;", "<": "&lt;"}
"""What HTML inside Markdown would act on."""

MARKUP = re.compile(r"[\\`*~|\[\]]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=\bwww)\.")
"""Markdown's own signs, also those of tables and of bare addresses; an underscore inside a name is none."""

LEADING = re.compile(r"^[#>+-](?=\s|#|$)")
"""Signs that mean something at the start of a line only."""


def printable(text: str, keep: str = "") -> str:
    """Without control characters, which a terminal would carry out, but for those in ``keep``."""
    return "".join(
        sign if sign.isprintable() or sign in keep else "\N{REPLACEMENT CHARACTER}" for sign in text
    )


class PrintableStream:
    """A text stream that writes control characters as marks, whoever prints them.

    Progress bars go back to the start of their line, or up some lines, by a write that begins with or is
    nothing but that; no name that stands inside a message can.

    Args:
        stream: where the text goes; everything but ``write`` is its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.replace("\x1b[A", "").strip("\r\n"):
            start = text[:1] if text.startswith("\r") else ""
            text = start + printable(text[len(start) :], keep="\n\t")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_markdown(value: Any, keep: str = "") -> str:
    """Any value as one line of Markdown that shows it and does nothing: no markup, no link, no new cell.

    Args:
        value: shown as ``str`` gives it.
        keep: signs that stay markup, for text that is Markdown itself.
    """
    return LEADING.sub(r"\\\g<0>", _escaped(value, keep))


def _escaped(value: Any, keep: str = "") -> str:
    line = printable(" ".join(str(value).split()))
    line = "".join(ENTITIES.get(sign, sign) for sign in line)
    return MARKUP.sub(lambda found: found[0] if found[0] in keep else f"\\{found[0]}", line)


def markdown_table(header: Sequence[Any], rows: Sequence[Sequence[Any]], left: int = 1) -> str:
    """A Markdown table with padded cells; the first ``left`` columns are set left, the others right."""
    cells = [[_escaped(cell) for cell in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [padded[0], rule, *padded[1:]])
