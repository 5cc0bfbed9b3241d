"""What every reader hands over: pictures and objects as the source tells them, before any check."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
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


def inside(folder: Path, name: Any) -> Path:
    """The file ``name`` of an annotation within ``folder``; the name is not ours, so it may not leave it.

    The folder itself may be a link. A link within it may lead elsewhere in the folder, not out of it.

    Raises:
        UserError: the name is not text, is absolute, climbs out with "..", or follows a link that leads out.
    """
    relative = relative_name(folder, name)
    if leads_out(folder, relative):
        raise UserError(
            f"file_name '{name}' is a link that leads out of the folder {folder}; put the file itself there, "
            "or give the folder that holds the files"
        )
    return folder / relative


def relative_name(folder: Path, name: Any) -> PurePosixPath:
    """``name`` with "/" between its parts, if it stays in ``folder`` by its words alone; see ``inside``.

    Raises:
        UserError: the name is not text, is absolute, or climbs out with "..".
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError(f"file_name {name!r} is not the name of a file; correct it in the annotation file")
    relative = PurePosixPath(name.replace("\\", "/"))
    has_drive = relative.parts[:1] != () and relative.parts[0].endswith(":")
    if relative.is_absolute() or has_drive or ".." in relative.parts:
        raise UserError(
            f"file_name '{name}' leaves the folder {folder}; give names relative to that folder, without '..'"
        )
    return relative


def leads_out(folder: Path, relative: PurePosixPath) -> bool:
    """Whether a symbolic link on the way from ``folder`` to ``relative`` ends outside of the folder.

    Costs one look at each part of the name; only where there is a link at all are both ends resolved.
    """
    place = str(folder)
    for part in relative.parts:
        place = os.path.join(place, part)
        if os.path.islink(place):
            root, end = os.path.realpath(folder), os.path.realpath(folder / relative)
            return os.path.commonpath([root, end]) != root
    return False


def load_json(path: Path, recipe_key: str) -> dict[str, Any]:
    """The annotation file as a dict.

    Raises:
        UserError: the file is missing, larger than :data:`MAX_JSON_BYTES`, is not JSON, or does not hold an
            object at the top.
    """
    if not path.is_file():
        raise UserError(f"{recipe_key}: there is no file {path}; give the path of the COCO JSON")
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise UserError(
            f"{recipe_key}: {path} has {size / 1e9:.1f} GB and the limit is {MAX_JSON_BYTES / 1e9:.1f} GB: "
            "read whole it would take several times that in memory. Split it, or leave out the polygons of a "
            "detection file (boxes are enough)"
        )
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise UserError(f"{recipe_key}: {path} is not valid JSON ({fault}); export it again") from None
    except RecursionError:
        raise UserError(
            f"{recipe_key}: {path} is nested too deeply to be a COCO file; export it again"
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"{recipe_key}: {path} holds a {type(content).__name__} at the top, a COCO file holds an object"
        )
    return content


def require_folder(folder: str, recipe_key: str) -> Path:
    """The folder as an absolute path.

    Raises:
        UserError: there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{recipe_key}: there is no folder {path}")
    return path.absolute()


def hash_of_file(path: Path) -> str:
    """sha256 of the content."""
    digest = sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
