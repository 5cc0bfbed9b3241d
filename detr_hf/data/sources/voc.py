"""Pascal VOC: an XML file of boxes for each image.

Its specification: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. What else is read
so: exports of labelImg, CVAT ("PASCAL VOC 1.1"), Roboflow, supervision, RectLabel, roLabelImg, LabelMe's
XML. The image of a file is the one of the same name, as all of these have it; where there is none, the one
that the file names. `voc_layout` says which folders are known, `voc_xml` what is read of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.data.image_files import first_files
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.voc_layout import Entry, Layout
from detr_hf.data.sources.voc_xml import (
    MAX_FILE_BYTES,
    VocObjects,
    class_names,
    declared_size,
    names_of_image,
    read_voc,
)
from detr_hf.data.xml_files import xml_elements
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file

FORMAT = "voc"
TITLE = "Pascal VOC (an XML file an image)"
LOOKS_FOR = "Annotations/*.xml with JPEGImages, or images with an .xml beside each"
ORDER = 55

HEAD_BYTES = 4096


def detect(path: Path) -> bool:
    """Whether one of the first XML files in the folder is one of Pascal VOC."""
    return path.is_dir() and any(map(_is_voc, first_files(path, ".xml")))


def _is_voc(path: Path) -> bool:
    try:
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
    except UserError:
        return False
    return re.search(rb"<annotation[\s/>]", head.replace(b"\0", b"")) is not None  # also in UTF-16


def open_splits(place: Place) -> Opened:
    """The image sets, or the folders that are named like splits, or all as "train".

    Raises:
        UserError: there is no XML file of Pascal VOC.
    """
    layout = Layout(place.path, place.images, _names_in)
    splits = layout.splits()
    if not any(entry.xml for entries in splits.values() for entry in entries):
        raise UserError(f"{place.name}: there is no XML file of Pascal VOC in {place.path}")
    data = _Data(place, layout, splits)
    return Opened({split: VocSource(data, split) for split in splits})


def _names_in(path: Path) -> list[str] | None:
    for annotation in xml_elements(path, {"annotation"}, max_bytes=MAX_FILE_BYTES):
        return names_of_image(annotation)
    return None


class _Data:
    """What the splits of one data set share."""

    def __init__(self, place: Place, layout: Layout, splits: dict[str, list[Entry]]) -> None:
        self.place, self.splits = place, splits
        self.issues, self.image_root = layout.issues, layout.image_root

    @cached_property
    def class_names(self) -> list[str]:
        """Of all splits; every file is read for it."""
        names: set[str] = set()
        for entry in (entry for entries in self.splits.values() for entry in entries if entry.xml):
            try:
                names.update(class_names(read_voc(self.place.path / str(entry.xml), str(entry.xml))))
            except UserError:  # its sample says so
                continue
        return sorted(names)


class VocSource(Source):
    """One split of a data set in Pascal VOC's format."""

    def __init__(self, data: _Data, split: str) -> None:
        self._data, self._split = data, split
        self._entries = data.splits[split]
        self.name = data.place.name if len(data.splits) == 1 else f"{data.place.name}, split '{split}'"

    @property
    def key(self) -> str:
        place = self._data.place
        folders = [hash_of_folder(folder) for folder in (place.path, place.images) if folder is not None]
        return hash_of_words([FORMAT, self._split, repr(place.reading), *folders])

    def categories(self) -> list[dict[str, Any]]:
        return [{"id": id_, "name": name} for id_, name in enumerate(self._data.class_names, start=1)]

    def issues(self) -> Iterable[Issue]:
        """Of the data set as a whole; the first split has them."""
        return self._data.issues if self._split == next(iter(self._data.splits)) else ()

    def samples(self) -> Iterator[Sample]:
        for number, entry in enumerate(self._entries, start=1):
            yield self._sample(entry, number)

    def __len__(self) -> int:
        return len(self._entries)

    def _sample(self, entry: Entry, number: int) -> Sample:
        issues = list(entry.issues)
        objects: list[Annotation] = []
        declared_hw = None
        if entry.xml is not None:
            try:
                annotation = read_voc(self._data.place.path / entry.xml, entry.xml)
            except UserError as error:
                issues.append(Issue("annotation-unreadable", str(error), entry.file_name))
            else:
                found = VocObjects(annotation, entry.file_name)
                objects, declared_hw = found.read(), declared_size(annotation)
                issues += [*_renamed(entry, names_of_image(annotation)[0]), *found.issues]
        elif entry.image is not None:
            keep = self._data.place.reading.unlisted_images == "keep"
            issues.append(Issue("unlisted-kept" if keep else "unlisted", "no XML file", entry.image))
        return Sample(
            image=None if entry.image is None else self._data.image_root / entry.image,
            file_name=entry.file_name,
            image_id=number,
            objects=objects,
            declared_hw=declared_hw,
            issues=tuple(issues),
        )


def _renamed(entry: Entry, said: str) -> Iterator[Issue]:
    """Tells where an XML file names another image than that of its own name."""
    last = said.replace("\\", "/").rpartition("/")[2]
    if entry.image and last and not entry.issues and last != PurePosixPath(entry.image).name:
        yield Issue("file-renamed", f"{entry.xml} says '{said}'", entry.image)
