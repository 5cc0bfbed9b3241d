"""What a sink is: repaired samples to one folder, which is whole or not there."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self

from detr_hf.data.image_files import IMAGE_SUFFIXES
from detr_hf.data.issues import Issue
from detr_hf.data.report import Report
from detr_hf.data.sample import Sample
from detr_hf.data.sinks.coco_files import JsonList, write_changes
from detr_hf.errors import UserError
from detr_hf.files import replacing
from detr_hf.foreign_files import harmless_name, open_file, relative_name, shortened
from detr_hf.images import image_suffix
from detr_hf.labels import LabelMap

CHANGES_FILE = "changes.json"
IMAGES_FOLDER = "images"

Category = Mapping[str, Any]


class Sink(ABC):
    """A data set that is written, one sample at a time; the same samples give the same bytes.

    Used as a context: once the block ends without a fault, ``folder`` is there with ``changes.json``, which
    lists every issue by file; else what was there before still is.

    Args:
        folder: to be made, or replaced.
        splits: their names, in order.
        categories: the classes of all splits as in COCO, by ``id`` and ``name``; further keys are kept where
            the format can hold them.
        labels: the label map beside the data, if there is one.
        copy_images: put copies of the images into ``folder``. Formats that hold their images do so anyway.

    Attributes:
        counts: images and objects that were written, by split.
        report: all that was noted.
    """

    def __init__(
        self,
        folder: Path,
        splits: Iterable[str],
        categories: Sequence[Category],
        labels: LabelMap | None = None,
        copy_images: bool = False,
    ) -> None:
        self.folder = folder
        self.categories = categories
        self.labels = labels
        self.copy_images = copy_images
        self.counts: dict[str, Counter[str]] = {split: Counter() for split in splits}
        self.report = Report(str(folder))
        self._names = {category["name"] for category in categories}
        self.open_files = ExitStack()  # is closed whatever happens, and after ``finish``

    def __enter__(self) -> Self:
        """Raises UserError: the folder is there, and no sink has written it."""
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / CHANGES_FILE).is_file():
            raise UserError(
                f"{self.folder}: holds files of something else (it has no {CHANGES_FILE}), which would be "
                "replaced; name a new or empty folder"
            )
        with ExitStack() as stack:  # undoes what has begun where something fails here
            self.partial = stack.enter_context(replacing(self.folder))
            stack.enter_context(self.open_files)
            self._changes = JsonList(self.partial / "changes.part")
            self.open_files.callback(self._changes.close)
            stack.push(self._finish_if_whole)
            self.begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish_if_whole(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
            counts = {code: self.report.count(code) for code in self.report.found}
            write_changes(self.partial / CHANGES_FILE, counts, self._changes)

    def add(self, split: str, sample: Sample) -> None:
        """Write one repaired sample.

        Raises:
            UserError: its image is where the format cannot point to, or there is no room.
        """
        assert sample.size_hw is not None and sample.image is not None, "the sample has been repaired"
        unlisted = [one for one in sample.objects if one.category not in self._names]
        if unlisted:
            texts = (f"{one.where}: '{one.category}'" for one in unlisted)
            self.note(split, (Issue("category-unknown", text, sample.file_name) for text in texts))
            kept = [one for one in sample.objects if one.category in self._names]
            sample = replace(sample, objects=kept)
        self.counts[split]["images"] += 1
        self.counts[split]["objects"] += self.write(split, sample)

    @property
    def written_splits(self) -> list[str]:
        """The splits that have images, in order."""
        return [split for split, counts in self.counts.items() if counts["images"]]

    def note(self, split: str, issues: Iterable[Issue]) -> None:
        """List issues in the report and in ``changes.json``."""
        for issue in issues:
            self.report.add([issue], split)
            entry = {"split": split, "file": issue.file, "kind": issue.code, "text": issue.text}
            self._changes.add(entry)

    def begin(self) -> None:
        """Once, before the first sample."""
        return None

    @abstractmethod
    def write(self, split: str, sample: Sample) -> int:
        """Write a sample, and return how many objects of it were written."""

    @abstractmethod
    def finish(self) -> None:
        """Once, after the last sample."""


class SinkModule(Protocol):
    """A module of this folder that can write a format; `detr_hf.data.sinks.sinks` finds it by ``FORMAT``."""

    FORMAT: str  # as `--to` names it: "yolo"
    TITLE: str  # for people: "YOLO (Ultralytics)"
    Writer: type[Sink]


class ImageFolder:
    """Where the images of one split are: where they were, or in a folder of the data set that is written.

    Args:
        folder: for copies.
        copy: make copies. Images that are no files of their own (in a ZIP, in a table) are copied anyway.

    Attributes:
        root: the folder that holds the images where they are; None where they are copied.
    """

    def __init__(self, folder: Path, copy: bool) -> None:
        self.folder = folder
        self.root: Path | None = None
        self._copy = copy

    def place(self, sample: Sample) -> str:
        """The image's name relative to ``root``, or to ``folder`` where they are copied.

        Raises:
            UserError: the images of this split do not lie below one folder.
        """
        image, name = sample.image, sample.file_name
        if isinstance(image, bytes) and self.root is None:
            self._copy = True
        if self._copy:
            name = image_name(sample)
            path, number = PurePosixPath(name), 0
            while (self.folder / name).exists():
                number += 1
                name = str(path.with_stem(f"{path.stem}_{number}"))
            copy_image(sample, self.folder / name)
            return name
        assert image is not None
        if isinstance(image, bytes):
            raise UserError(f"{name}: some images are files, others are not; {_COPY}")
        if self.root is None:
            self.root = _root_of(image, name)
        try:
            return image.relative_to(self.root).as_posix()
        except ValueError:
            raise UserError(f"{image}: is not in {self.root}, as other images are; {_COPY}") from None


_COPY = "put them into one folder with --copy-images"


def _root_of(image: Path, name: str) -> Path:
    """The folder that a ``file_name`` is relative to."""
    path = image.as_posix()
    return Path(path.removesuffix(f"/{name}")) if path.endswith(f"/{name}") else image.parent


def image_name(sample: Sample) -> str:
    """A name for a copy of the image: its own where that stays in a folder, with a suffix of images."""
    assert sample.image is not None
    try:
        name = relative_name(Path(), sample.file_name).as_posix()
    except UserError:  # names of rows of a table may be anything
        name = harmless_name(sample.file_name)
    path = PurePosixPath(name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return name
    return str(path.with_name(shortened(path.name, image_suffix(sample.image, sample.file_name))))


def copy_image(sample: Sample, target: Path) -> None:
    """Copy an image's file as it is, to a file that is not there yet."""
    content = sample.image
    assert content is not None
    with BytesIO(content) if isinstance(content, bytes) else open_file(content, "image file") as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy)


def folder_of(split: str) -> str:
    """The split's name as that of a folder."""
    return harmless_name(split)
