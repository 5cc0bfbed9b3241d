"""Text that came with data or models, made harmless where it is shown: names may hold anything."""

from __future__ import annotations

import re
from typing import Any

ENTITIES = {"&": "&amp;", "<": "&lt;", "|": "&#124;"}
"""What HTML inside Markdown, and a table's cells, would act on."""

MARKUP = re.compile(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)|^[#>+-](?=\s|#|$)")
"""Markdown's own signs; an underscore inside a name is none."""


def printable(line: str) -> str:
    """Without control characters: a terminal would carry them out."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def plain_markdown(value: Any) -> str:
    """Any value as one line of Markdown that shows it and does nothing: no markup, no link, no new cell."""
    line = printable(" ".join(str(value).split()))
    return MARKUP.sub(r"\\\g<0>", "".join(ENTITIES.get(sign, sign) for sign in line))
