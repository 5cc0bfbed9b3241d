"""What a door gives: the `Source` of each split, read as a stream of samples."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file
from detr_hf.images import image_size
from detr_hf.labels import LabelMap
from detr_hf.recipe.prepare import Reading
from detr_hf.run_folder import is_output

if TYPE_CHECKING:
    from datasets import Dataset

MAX_JSON_BYTES = 1_500_000_000
"""Largest annotation file that is read: three times COCO's largest, and about ten times that in memory."""


@dataclass(frozen=True)
class Place:
    """What a door is asked to open.

    Attributes:
        path: the file or folder.
        name: what messages call it: the recipe key with the path, or the path as it was given.
        images, panoptic: folders of images and of id maps, where they were named apart from the path.
        reading: settings that say how doubtful annotations are understood.
        revision: of a data set of the Hub.
        labels: names for classes that the data set writes as numbers, where it has none for them.
    """

    path: Path  # of format "hub" a data set's id
    name: str
    images: Path | None = None
    panoptic: Path | None = None
    reading: Reading = field(default_factory=Reading)
    revision: str | None = None
    labels: LabelMap | None = None


class Source(ABC):
    """One split of a data set. Nothing is written into it, and no path of it leads out of its folder.

    Attributes:
        name: for messages: ``Place.name``, with the split where there are several.
        is_panoptic: whether every sample has an id map, whose segments its objects are.
        xywh_px: whether the format itself says what the numbers of a box are; else they are judged on
            many boxes together (`boxes.judge_format`).
        images_apart: whether images stay where they are (a saved data set), so that rows hold only the truth.
        has_set_issues: whether ``issues`` has those of the data set as a whole, too: of the splits that are
            read together, one has.
    """

    name: str
    is_panoptic: bool = False
    xywh_px: bool = True
    images_apart: bool = False
    has_set_issues: bool = True

    @property
    @abstractmethod
    def key(self) -> str:
        """Changes whenever the source might give other samples: a hash of annotations and file listings."""

    @abstractmethod
    def categories(self) -> list[dict[str, Any]]:
        """The classes as in COCO: ``id`` (a whole number), ``name`` (each once) and, where known,
        ``isthing``, ``color`` and ``supercategory``. A format without a list of classes gives those of its
        objects, sorted by name, with ids from 1.
        """

    def issues(self) -> Iterable[Issue]:
        """What is wrong with the source as a whole: categories, orphans, files that are not read."""
        return ()

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """Every image once, in an order that does not depend on the machine; images are not opened.

        Raises nothing for what is wrong with one image: its sample says so in ``issues``. One file of
        annotations at a time is in memory.

        Raises:
            UserError: the annotations as a whole cannot be read.
        """

    def images_table(self) -> Dataset:
        """Where ``images_apart``: the columns ``image`` and, in panoptic sets, ``panoptic``, row by row."""
        raise NotImplementedError

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""


@dataclass(frozen=True)
class Opened:
    """A data set as a door sees it.

    Attributes:
        splits: by the names that the data set itself gives ("train", "valid", "test"); one without splits of
            its own has "train" alone.
        labels: the label map that lies beside the data, if any.
    """

    splits: Mapping[str, Source]
    labels: LabelMap | None = None


class Door(Protocol):
    """A module of this folder that can open a format; `detr_hf.data.sources.doors` finds it by ``FORMAT``."""

    FORMAT: str  # as `format:` names it: "yolo"
    TITLE: str  # for people: "YOLO (Ultralytics or Darknet)"
    LOOKS_FOR: str  # for people: "data.yaml with `names` and `train`"
    ORDER: int  # doors are asked in this order; those that are surest of their format first

    def detect(self, path: Path) -> bool:
        """Whether the path looks like this format; reads no more than it must, and never raises."""
        ...

    def open_splits(self, place: Place) -> Opened:
        """Open it. Heavy libraries are imported here, not above.

        Raises:
            UserError: it cannot be read; the message names the file.
        """
        ...


def hash_of_folder(folder: Path) -> str:
    """sha256 over names, sizes and times of change of all files in a folder but runs and hidden ones."""
    return hash_of_words(f"{name} {size} {changed}" for name, size, changed in sorted(_files_in(folder)))


def _files_in(folder: Path) -> Iterator[tuple[str, int, int]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_output(os.path.join(parent, name))]
        for name in names:
            if name.startswith("."):  # such as the lock of a training that begins
                continue
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


def head_of(path: Path, size: int = 1 << 16) -> bytes:
    """The first bytes of a file, by which its format is recognized; none where it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(size)
    except (UserError, OSError):
        return b""


def annotated_size(declared_hw: tuple[Any, Any] | None, image: Path | bytes | None) -> tuple[int, int] | None:
    """Height and width of an image as it was annotated: as declared, else the file's; None where unknown."""
    if declared_hw and all(type(side) is int and 0 < side < 1 << 20 for side in declared_hw):
        return declared_hw
    try:
        return image_size(image) if image is not None else None
    except UserError:  # `repair` says what is wrong with the image
        return None
