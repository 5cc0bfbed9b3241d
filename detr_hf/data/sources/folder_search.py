"""The first files of a kind below a folder, for doors that ask whether a folder is theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

DEEPEST = 3  # folders below the path
MOST_FOLDERS = 500
TRIES = 3  # files of a folder, as one may be damaged


def first_files(path: Path, suffix: str) -> Iterator[Path]:
    """Up to ``TRIES`` files of each folder whose name ends so, in any case; none of hidden folders."""
    for count, (parent, folders, names) in enumerate(os.walk(path)):
        is_deepest = len(Path(parent).relative_to(path).parts) == DEEPEST
        folders[:] = [] if is_deepest else sorted(name for name in folders if not name.startswith("."))
        found = sorted(name for name in names if name.lower().endswith(suffix) and not name.startswith("."))
        yield from (Path(parent, name) for name in found[:TRIES])
        if count >= MOST_FOLDERS:
            return
