"""Where a page of the documentation lies: the wheel holds the text of docs/, a checkout docs/ itself."""

from __future__ import annotations

from pathlib import Path

IN_WHEEL = Path(__file__).parent / "docs"


def doc_page(name: str) -> str:
    """The path of a page such as "check.md": the installed file, in a checkout `docs/check.md`."""
    installed = IN_WHEEL / name
    return str(installed) if installed.is_file() else f"docs/{name}"
