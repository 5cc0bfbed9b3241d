"""What every reader hands over: pictures and objects as the source tells them, before any check."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from detr_hf.errors import UserError
from detr_hf.prepare.findings import Report

MAX_JSON_BYTES = 1_500_000_000
"""Largest annotation file that is read: three times COCO's largest, and about ten times that in memory."""


@dataclass(frozen=True)
class SourceObject:
    """One annotated object as the source tells it, unchecked; ``category`` is the source's own id.

    Rows are made without ``segmentation``, and in panoptic sources without ``bbox`` and ``area``, which are
    counted in the PNG; `detr-hf check` compares them.
    """

    id: Any
    category: Any
    bbox: Any
    area: Any
    iscrowd: bool
    where: str
    segmentation: Any = None


@dataclass(frozen=True)
class SourceImage:
    """One picture: a file (or the bytes of one), the size it is said to have, and its objects.

    ``panoptic`` is the PNG of its id map, in panoptic sources only.
    """

    image: Path | bytes
    image_id: int
    file_name: str
    declared_hw: tuple[Any, Any] | None
    objects: list[SourceObject]
    panoptic: Path | bytes | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"image {self.image_id} '{self.file_name}'"


class Source(Protocol):
    """A data source: named by its recipe key, identified by a hash of all it holds.

    ``pictures_apart`` says that the pictures stay where they are (a saved data set) and rows hold only the
    truth.
    """

    name: str
    is_panoptic: bool
    pictures_apart: bool

    @property
    def key(self) -> str:
        """Changes whenever the source might give other rows."""
        ...

    def categories(self) -> list[dict[str, Any]]:
        """The source's classes as in COCO: ``id``, ``name`` and, where known, ``isthing`` and ``color``."""
        ...

    def used_categories(self) -> set[int]:
        """The category ids that occur on objects."""
        ...

    def images(self, report: Report) -> Iterable[SourceImage]:
        """All pictures in order; faults of the source as a whole go to ``report``."""
        ...

    def __len__(self) -> int:
        """The number of pictures."""
        ...


def require_folder(folder: str, recipe_key: str) -> Path:
    """The folder as an absolute path.

    Raises:
        UserError: there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{recipe_key}: there is no folder {path}")
    return path.absolute()


def hash_of_folder(folder: Path) -> str:
    """sha256 over names, sizes and times of change of all files in a folder, without opening them."""
    return hash_of_words(f"{name} {size} {changed}" for name, size, changed in sorted(_files_in(folder)))


def _files_in(folder: Path) -> Iterator[tuple[str, int, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(parent, name)
            try:
                status = os.stat(file)
            except OSError:  # a dangling link: the reader names it if an annotation wants it
                continue
            yield os.path.relpath(file, folder), status.st_size, status.st_mtime_ns


def hash_of_words(words: Iterable[str]) -> str:
    """sha256 of a sequence of words; ("ab", "c") and ("a", "bc") differ."""
    digest = sha256()
    for word in words:
        digest.update(word.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
