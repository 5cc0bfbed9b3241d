"""Where a page of the documentation lies: the wheel holds the text of docs/, a checkout docs/ itself."""

from __future__ import annotations

from pathlib import Path

IN_WHEEL = Path(__file__).parent / "docs"


def doc_page(name: str) -> str:
    """The path of a page such as "check.md", or "training.md#evaluate" for a part of one.

    It is that of the installed file, in a checkout `docs/check.md`.
    """
    is_installed = (IN_WHEEL / name.partition("#")[0]).is_file()
    return f"{IN_WHEEL}/{name}" if is_installed else f"docs/{name}"
