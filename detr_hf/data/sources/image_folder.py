"""Folders of images with a metadata file that says what is in them, as `datasets` reads them ("imagefolder").

https://huggingface.co/docs/datasets/image_dataset#object-detection: a row has ``file_name``, relative to the
metadata file, and ``objects`` with ``bbox`` and ``categories``. Splits are the folders named like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import (
    MAX_JSON_BYTES,
    Opened,
    Place,
    Source,
    hash_of_folder,
    hash_of_words,
)
from detr_hf.data.sources.columns import FILE_NAMES, Columns, fields_of, first_of, require_fields
from detr_hf.data.sources.metadata_files import METADATA_FILES, inner_keys, rows_of
from detr_hf.data.sources.row_reader import RowReader
from detr_hf.data.sources.splits import TRAIN, split_of
from detr_hf.data.sources.table import labels_in_folder, names_by_number, numbers_without_names
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap

FORMAT = "imagefolder"
TITLE = "a folder of images with metadata"
LOOKS_FOR = "metadata.jsonl, metadata.csv or metadata.parquet with `file_name`, here or in a folder a split"
ORDER = 60


def detect(path: Path) -> bool:
    """Whether there is a metadata file in the folder or in one in it."""
    return path.is_dir() and any(
        any(path.glob(f"{at}{name}")) for name in METADATA_FILES for at in ("", "*/")
    )


def open_splits(place: Place) -> Opened:
    """Its splits; a folder without splits is "train".

    Raises:
        UserError: no metadata file says what is in images, or classes are numbers that nothing names.
    """
    folder = _Folder(place, labels_in_folder(place.path))
    return Opened({split: ImageFolder(folder, split) for split in folder.images}, folder.labels)


@dataclass
class _Entry:
    """What the rows of a metadata file say of one image; its name is None where there is no such file."""

    image: str | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


class _Folder:
    """What the splits share. Metadata files are read once here, for images, columns and classes."""

    def __init__(self, place: Place, labels: LabelMap | None) -> None:
        self.place, self.labels, self.root = place, labels, place.images or place.path
        listing = ImageFiles(place.path)
        self.metadata = [name for name in listing.others if _is_metadata(name)]
        links = [name for name in listing.links_out if _is_metadata(name)]
        self.issues = [Issue("not-read", "it is a link out of the folder", name) for name in links]
        self._listings: dict[str, ImageFiles] = {}
        nested: dict[str, set[str]] = {}
        columns: dict[str, None] = {}
        self.images: dict[str, dict[str, None]] = {}  # by split, those that are listed, in their order
        for metadata in self.metadata:
            for name, entry in self.entries(metadata, self.issues).items():
                listed = self.images.setdefault(_split(name), {})
                if name in listed:
                    text = f"{metadata}: '{name}' is in another metadata file, too, which is used"
                    self.issues.append(Issue("entry-invalid", text, metadata))
                    continue
                listed[name] = None
                for key, value in (pair for row in entry.rows for pair in row.items()):
                    columns[key] = None
                    nested.setdefault(key, set()).update(inner_keys(value))
        if not self.images:
            why = f": {self.issues[0]}" if self.issues else ""
            raise UserError(f"{place.name}: no metadata file in {place.path} lists an image{why}")
        objects, fields = fields_of(nested, columns)
        require_fields(fields, False, place.name, columns)
        known = Columns("", None, objects, fields)
        self.reader = RowReader(known, names_by_number(known, labels or place.labels))
        self.names, has_numbers = self._classes()
        if has_numbers and not self.reader.names:
            raise UserError(numbers_without_names(place.name))
        self.unlisted: dict[str, list[str]] = {}
        for name in ImageFiles(self.root).names:
            if name not in self.images.get(_split(name), {}):
                self.unlisted.setdefault(_split(name), []).append(name)
        self.images |= {split: {} for split in self.unlisted if split not in self.images}

    def entries(self, metadata: str, issues: list[Issue]) -> dict[str, _Entry]:
        """What a metadata file says, by image, in its order; what cannot be used is added to ``issues``."""
        found: dict[str, _Entry] = {}
        try:
            for line, row, wrong in rows_of(self.place.path / metadata, metadata, MAX_JSON_BYTES):
                if row is None:
                    issues.append(Issue("entry-invalid", f"{metadata}, line {line}: {wrong}", metadata))
                    continue
                name, image, issue = self._find(f"{metadata}, line {line}", row)
                entry = found.setdefault(name, _Entry(image))
                if issue is not None and not entry.rows:
                    entry.issues.append(issue)
                entry.rows.append(row)
        except UserError as error:  # what was read before counts
            issues.append(Issue("entry-invalid", str(error), metadata))
        return found

    def _find(self, place: str, row: dict[str, Any]) -> tuple[str, str | None, Issue | None]:
        """The name of a row's image relative to the root, once for its sample and once for its file, if there
        is one. Names count from the folder of the metadata file.
        """
        column = first_of(FILE_NAMES, row)
        said = row[column] if column else None
        folder = place.rpartition("/")[0]
        if folder not in self._listings:
            self._listings[folder] = ImageFiles(self.root / folder, self.root)
        image, issue = self._listings[folder].find(said)
        if image is None and issue is not None and issue.code == "file-name":
            return place, None, replace(issue, text=f"{place}: {issue.text}", file=place)
        name = f"{folder}/{image or said}".removeprefix("/")
        return name, None if image is None else name, None if issue is None else replace(issue, file=name)

    def _classes(self) -> tuple[list[str], bool]:
        """The classes that are written as text, sorted, and whether there are some that are numbers."""
        text: set[str] = set()
        has_numbers = False
        for metadata in self.metadata:
            for row in (row for entry in self.entries(metadata, []).values() for row in entry.rows):
                try:
                    values = [entry.get("category") for entry in self.reader.entries(row)]
                except UserError:  # its sample says so
                    continue
                text.update(value for value in values if isinstance(value, str))
                has_numbers |= any(type(value) is int for value in values)
        return sorted(text), has_numbers


class ImageFolder(Source):
    """One split of a folder of images."""

    xywh_px = False

    def __init__(self, folder: _Folder, split: str) -> None:
        self._folder, self._split = folder, split
        name = folder.place.name
        self.name = name if len(folder.images) == 1 else f"{name}, split '{split}'"

    def __len__(self) -> int:
        return len(self._folder.images[self._split]) + len(self._folder.unlisted.get(self._split, ()))

    @property
    def key(self) -> str:
        place = self._folder.place
        folders = [hash_of_folder(folder) for folder in {place.path, self._folder.root}]
        names = repr(sorted(self._folder.reader.names.items()))
        return hash_of_words([FORMAT, self._split, repr(place.reading), names, *sorted(folders)])

    def categories(self) -> list[dict[str, Any]]:
        """Those of the label map beside the data, and further names that occur."""
        folder = self._folder
        given = folder.labels or folder.place.labels
        known = given.to_coco_categories() if given is not None else []
        free = count(max((entry["id"] for entry in known), default=0) + 1)
        others = [name for name in folder.names if name not in {entry["name"] for entry in known}]
        return known + [{"id": next(free), "name": name} for name in others]

    def issues(self) -> Iterable[Issue]:
        """Of the data set as a whole; the first split has them."""
        return self._folder.issues if self._split == next(iter(self._folder.images)) else ()

    def samples(self) -> Iterator[Sample]:
        seen: set[str] = set()
        for metadata in self._folder.metadata:
            for name, entry in self._folder.entries(metadata, []).items():
                if _split(name) == self._split and name not in seen:
                    yield self._sample(entry, name, metadata, seen)
        keep = self._folder.place.reading.unlisted_images == "keep"
        for name in self._folder.unlisted.get(self._split, ()):
            issue = Issue("unlisted-kept" if keep else "unlisted", "no metadata file lists it", name)
            seen.add(name)
            yield Sample(self._folder.root / name, name, len(seen), [], issues=(issue,))

    def _sample(self, entry: _Entry, name: str, metadata: str, seen: set[str]) -> Sample:
        issues = list(entry.issues)
        objects: list[Annotation] = []
        for row in entry.rows:
            try:
                objects += self._folder.reader.objects(row, name, issues)
            except UserError as error:
                issues.append(Issue("annotation-unreadable", f"{metadata}: {error}", name))
        if len(entry.rows) > 1:
            objects = [replace(one, id=at, where=f"object {at}") for at, one in enumerate(objects, start=1)]
            if self._folder.reader.columns.objects is not None:  # else it is one row an object
                issues.append(Issue("image-twice", f"{len(entry.rows)} rows of {metadata}", name))
        sizes = {(row.get("height"), row.get("width")) for row in entry.rows}
        size = next(iter(sizes)) if len(sizes) == 1 else (None, None)
        seen.add(name)
        return Sample(
            image=None if entry.image is None else self._folder.root / entry.image,
            file_name=name,
            image_id=len(seen),
            objects=objects,
            declared_hw=None if None in size else size,
            issues=tuple(issues),
        )


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] in METADATA_FILES


def _split(name: str) -> str:
    return split_of(name, with_file=False) or TRAIN
