"""Folders of images with a metadata file that says what is in them, as `datasets` reads them ("imagefolder").

https://huggingface.co/docs/datasets/image_dataset#object-detection: a row has ``file_name``, relative to the
metadata file, and ``objects`` with ``bbox`` and ``categories``. Splits are the folders named like one. The
metadata files are held in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import MAX_JSON_BYTES, Opened, Place
from detr_hf.data.sources.columns import FILE_NAMES, Columns, fields_of, first_of, require_fields
from detr_hf.data.sources.metadata_files import METADATA_FILES, inner_keys, rows_of
from detr_hf.data.sources.row_reader import RowReader
from detr_hf.data.sources.splits import TRAIN, DataSet, open_all, split_of
from detr_hf.data.sources.table import labels_in_folder, names_by_number, numbers_without_names
from detr_hf.errors import UserError

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
    return open_all(FORMAT, _ImageFolder(place))


@dataclass
class _Entry:
    """What the rows of a metadata file say of one image; its name is None where there is no such file."""

    name: str
    image: str | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


class _ImageFolder(DataSet):
    xywh_px = False

    def __init__(self, place: Place) -> None:
        self.place, self.labels = place, labels_in_folder(place.path)
        self._root = place.images or place.path
        listing = ImageFiles(place.path)
        links = [name for name in listing.links_out if _is_metadata(name)]
        self._issues = [Issue("not-read", "it is a link out of the folder", name) for name in links]
        self._listings: dict[str, ImageFiles] = {}
        listed: dict[str, _Entry] = {}
        for metadata in filter(_is_metadata, listing.others):
            for name, entry in self._entries(metadata).items():
                if listed.setdefault(name, entry) is not entry:
                    text = f"{metadata}: '{name}' is in another metadata file, too, which is used"
                    self._issues.append(Issue("entry-invalid", text, metadata))
        if not listed:
            why = f": {self._issues[0]}" if self._issues else ""
            raise UserError(f"{place.name}: no metadata file in {place.path} lists an image{why}")
        rows = [row for entry in listed.values() for row in entry.rows]
        self._reader = self._reader_of(rows)
        self._text_classes = self._classes(rows)
        for name in ImageFiles(self._root).names:
            if name not in listed:
                issue = self.unlisted(name, "no metadata file lists it")
                listed[name] = _Entry(name, name, issues=[issue])
        splits: dict[str, list[_Entry]] = defaultdict(list)
        for entry in listed.values():
            splits[split_of(entry.name, with_file=False) or TRAIN].append(entry)
        self.splits = splits

    def _entries(self, metadata: str) -> dict[str, _Entry]:
        """What a metadata file says, by image, in its order; what cannot be used is told."""
        found: dict[str, _Entry] = {}
        try:
            for line, row, wrong in rows_of(self.place.path / metadata, metadata, MAX_JSON_BYTES):
                if row is None:
                    self._issues.append(Issue("entry-invalid", f"{metadata}, line {line}: {wrong}", metadata))
                    continue
                name, image, issue = self._find(f"{metadata}, line {line}", row)
                made = _Entry(name, image, issues=[issue] if issue is not None else [])
                found.setdefault(name, made).rows.append(row)
        except UserError as error:  # what was read before counts
            self._issues.append(Issue("entry-invalid", str(error), metadata))
        return found

    def _find(self, place: str, row: dict[str, Any]) -> tuple[str, str | None, Issue | None]:
        """The name of a row's image relative to the root, once for its sample and once for its file, if there
        is one. Names count from the folder of the metadata file.
        """
        column = first_of(FILE_NAMES, row)
        said = row[column] if column else None
        folder = place.rpartition("/")[0]
        if folder not in self._listings:
            self._listings[folder] = ImageFiles(self._root / folder, self._root)
        image, issue = self._listings[folder].find(said)
        if image is None and issue is not None and issue.code == "file-name":
            return place, None, replace(issue, text=f"{place}: {issue.text}", file=place)
        name = f"{folder}/{image or said}".removeprefix("/")
        return name, None if image is None else name, None if issue is None else replace(issue, file=name)

    def _reader_of(self, rows: list[dict[str, Any]]) -> RowReader:
        nested: dict[str, set[str]] = {}
        for key, value in (pair for row in rows for pair in row.items()):
            nested.setdefault(key, set()).update(inner_keys(value))
        objects, fields = fields_of(nested, nested)
        require_fields(fields, False, self.place.name, nested)
        columns = Columns("", None, objects, fields)
        return RowReader(columns, names_by_number(columns, self.labels or self.place.labels))

    def _classes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Those that are written as text, sorted.

        Raises:
            UserError: some are numbers, and nothing names them.
        """
        found: set[str] = set()
        for row in rows:
            try:
                values = [entry.get("category") for entry in self._reader.entries(row)]
            except UserError:  # its sample says so
                continue
            if not self._reader.names and any(type(value) is int for value in values):
                raise UserError(numbers_without_names(self.place.name))
            found.update(value for value in values if isinstance(value, str))
        return sorted(found)

    def categories(self) -> list[dict[str, Any]]:
        """Those of the label map beside the data, and further names that occur."""
        given = self.labels or self.place.labels
        known = given.to_coco_categories() if given is not None else []
        names = {entry["name"] for entry in known}
        free = count(max((entry["id"] for entry in known), default=0) + 1)
        return known + [{"id": next(free), "name": name} for name in self._text_classes if name not in names]

    def issues(self) -> Iterable[Issue]:
        return self._issues

    def sample(self, entry: _Entry, number: int) -> Sample:
        issues = list(entry.issues)
        objects: list[Annotation] = []
        for row in entry.rows:
            try:
                objects += self._reader.objects(row, entry.name, issues)
            except UserError as error:
                issues.append(Issue("annotation-unreadable", str(error), entry.name))
        if len(entry.rows) > 1:
            objects = [replace(one, id=at, where=f"object {at}") for at, one in enumerate(objects, start=1)]
            if self._reader.columns.objects is not None:  # else it is one row an object
                issues.append(Issue("image-twice", f"{len(entry.rows)} rows of metadata", entry.name))
        sizes = {(row.get("height"), row.get("width")) for row in entry.rows}
        size = next(iter(sizes)) if len(sizes) == 1 else (None, None)
        return Sample(
            image=None if entry.image is None else self._root / entry.image,
            file_name=entry.name,
            image_id=number,
            objects=objects,
            declared_hw=None if None in size else size,
            issues=tuple(issues),
        )


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] in METADATA_FILES
