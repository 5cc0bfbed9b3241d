"""Names of results, which never lead out of their folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from detr_hf.errors import UserError


def result_names(sources: Sequence[Path]) -> list[str]:
    """A name for the results of each file: its stem, or more of it where two would be named alike."""
    stems, names = [_plain(path.stem) for path in sources], [_plain(path.name) for path in sources]
    for choice in (stems, names):
        if len(set(choice)) == len(choice):
            return choice
    return [f"{index:05d}_{name}" for index, name in enumerate(names)]


def own_file(file: Path) -> Path:
    """A file that is about to be written.

    Raises:
        UserError: it is a link to another place.
    """
    if file.is_symlink():
        raise UserError(f"{file} is a link to another place; remove it, or choose another folder.")
    return file


def _plain(name: str) -> str:
    """The name without signs that could lead elsewhere or that some systems refuse."""
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]|^\.+', "_", name)
