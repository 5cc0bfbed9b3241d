"""The chosen files in a folder of their own, under the names of their subfolders."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from detr_hf.errors import UserError
from detr_hf.files import link_or_copy, sha256_of, whole_file
from detr_hf.foreign_files import harmless_name, own_file

How = Literal["copy", "link"]


def names_in_folder(names: Sequence[str]) -> list[str]:
    """A name below a folder for each image: its own, its parts harmless; with a number where several would be
    one file, also where case does not count."""
    plain = ["/".join(harmless_name(part) for part in name.split("/") if part) for name in names]
    shared = Counter(name.casefold() for name in plain)
    return [
        name if shared[name.casefold()] == 1 else f"{at:04d}/{name}" for at, name in enumerate(plain, start=1)
    ]


def put_into(folder: Path, files: Sequence[Path], names: Sequence[str], how: How) -> list[Path]:
    """Copy files, or link them, into a folder that may hold some of them already.

    A link is a second name of the same file (a copy where the file system has none): symbolic links that lead
    out of their folder are refused by whoever reads data with care, this package included.

    Returns:
        where each is.

    Raises:
        UserError: another file is in one's place (nothing is written), or one cannot be written.
    """
    targets = [own_file(folder, name) for name in names_in_folder(names)]
    there = [target.exists() for target in targets]
    for file, target, exists in zip(files, targets, there, strict=True):
        if exists and not _same(file, target):
            raise UserError(f"{target}: another file than {file} is there; choose another folder.")
    for file, target, exists in zip(files, targets, there, strict=True):
        if not exists:
            with whole_file(target) as partial:
                partial.unlink(missing_ok=True)
                if how == "link":
                    link_or_copy(file, partial)
                else:
                    shutil.copyfile(file, partial)
    return targets


def _same(file: Path, target: Path) -> bool:
    if not target.is_file() or file.stat().st_size != target.stat().st_size:
        return False
    return file.samefile(target) or sha256_of(file) == sha256_of(target)
