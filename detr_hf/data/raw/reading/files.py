"""Finding the file that an annotation means, among the files that are there, without leaving the folder."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import is_within, relative_name

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
    | {".avif", ".heic", ".heif"}
)


class FolderFiles:
    """The pictures below a folder, by their path relative to it, "/"-separated and in order.

    Attributes:
        names: pictures.
        links_out: files and folders that are links leading out of ``root``; they are never opened.
        others: files that are no pictures by their name.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.links_out: list[str] = []
        self.others: list[str] = []
        real_root = os.path.realpath(root)
        for name in sorted(_walk(folder)):
            if not is_within(folder / name, real_root):
                self.links_out.append(name)
            elif PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
                self.names.append(name)
            else:
                self.others.append(name)
        self._known = set(self.names)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_key[_key(name)].append(name)
            if "/" in name:
                self._by_key[f"*/{_key(PurePosixPath(name).name)}"].append(name)

    def plain(self, name: Any) -> str:
        """``name`` with "/" between its parts.

        Raises:
            UserError: it is no file name, or leaves the folder.
        """
        return relative_name(self.folder, name).as_posix()

    def has(self, name: str) -> bool:
        return name in self._known

    def like(self, name: str, taken: set[str]) -> list[str]:
        """Pictures that ``name`` may mean: another extension or case, a leading folder too many or too few.

        Pictures in ``taken`` are left out. The nearest kind of likeness wins; several of one kind stay
        several, unless just one has the same extension but for its case.
        """
        base = PurePosixPath(name).name
        for key in (_key(name), _key(name.removeprefix("images/")), _key(base), f"*/{_key(base)}"):
            found = [other for other in self._by_key.get(key, ()) if other not in taken]
            if len(found) > 1:
                suffix = PurePosixPath(name).suffix.lower()
                same = [other for other in found if PurePosixPath(other).suffix.lower() == suffix]
                return same if len(same) == 1 else found
            if found:
                return found
        return []


def require_within(path: Path, root: Path) -> None:
    """Raises:
    UserError: links lead from the path out of ``root``.
    """
    if not is_within(path, os.path.realpath(root)):
        raise UserError(
            f"{path}: refused, it is a link that leads out of {root}; put the files themselves there"
        )


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *linked]:
            yield Path(os.path.relpath(os.path.join(parent, name), folder)).as_posix()


def _key(name: str) -> str:
    """A name without its picture extension, case and way of composing accents."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    stem = path.with_suffix("") if path.suffix.lower() in PICTURE_SUFFIXES else path
    return stem.as_posix().casefold()
