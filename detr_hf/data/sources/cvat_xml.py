"""CVAT's own XML, "CVAT for images 1.1" and "CVAT for video 1.1": the file, its folder, or the zip itself.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Of a video, the shapes of each track are
taken at the frames whose images are there, as the export with images has them (`images/frame_000123.PNG`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from detr_hf.data.archive import Files, FolderFiles, ZipFiles, is_zip
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.cvat_index import CvatIndex, Entry, frame_number, visible_shapes
from detr_hf.data.sources.cvat_shapes import SHAPES, ShapeReader
from detr_hf.errors import UserError
from detr_hf.images import image_size

FORMAT = "cvat-xml"
TITLE = "CVAT for images or video 1.1 (XML)"
LOOKS_FOR = "annotations.xml with the root <annotations>, in a folder or a zip"
ORDER = 30

XML = "annotations.xml"
HEAD_BYTES = 4096


def detect(path: Path) -> bool:
    """Whether it is such a file, or a folder or zip that holds one."""
    try:
        files, name = _xml_at(path)
        return name is not None and _is_cvat(files, name)
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """The subsets of the project, or all as "train".

    Raises:
        UserError: there is no such XML, or it cannot be read.
    """
    files, name = _xml_at(place.path)
    if name is None:
        raise UserError(f"{place.name}: there is no {XML} in {place.path}")
    data = CvatIndex(place, files, name)
    return Opened({split: CvatXmlSource(data, split) for split in data.splits})


def _xml_at(path: Path) -> tuple[Files, str | None]:
    """The files and the name of the XML among them."""
    if is_zip(path):
        archive = ZipFiles(path)
        found = [name for name in archive.names if PurePosixPath(name).name == XML]
        return archive, min(found, key=lambda name: (name.count("/"), name), default=None)
    if path.is_file():
        return FolderFiles(path.parent), path.name if path.suffix.lower() == ".xml" else None
    folder = FolderFiles(path)
    if folder.has(XML) or not path.is_dir():
        return folder, XML
    others = sorted(one.name for one in path.iterdir() if one.suffix.lower() == ".xml")
    return folder, others[0] if len(others) == 1 else None  # one that was given another name


def _is_cvat(files: Files, name: str) -> bool:
    with files.open(name) as file:
        head = file.read(HEAD_BYTES)
    return re.search(rb"<annotations[\s>]", head) is not None


@dataclass
class _Found:
    """What has been read of an image so far."""

    objects: list[Annotation] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    declared_hw: tuple[Any, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    seen: int = 0


class CvatXmlSource(Source):
    """One subset of a CVAT export in XML."""

    def __init__(self, data: CvatIndex, split: str) -> None:
        self._data, self._split = data, split
        self.name = data.place.name if len(data.splits) == 1 else f"{data.place.name}, split '{split}'"
        self._labels = {one["name"] for one in data.categories}

    @property
    def key(self) -> str:
        place = self._data.place
        folders = [self._data.files.path, place.images]
        hashes = [hash_of_folder(one) for one in folders if one is not None and one.is_dir()]
        status = place.path.stat()
        words = [FORMAT, self._split, self._data.xml, repr(place.reading), str(status.st_size)]
        return hash_of_words([*words, str(status.st_mtime_ns), *hashes])

    def categories(self) -> list[dict[str, Any]]:
        return self._data.categories

    def issues(self) -> Iterable[Issue]:
        """What of the tracks is not taken, and links out of the folder; the first split has them."""
        data = self._data
        if self._split != data.splits[0]:
            return
        if data.lost_tracks:
            text = f"{data.lost_tracks} tracks; export with images to have their frames"
            yield Issue("not-taken", text, data.xml)
        for why, count in sorted(data.shapes_without_frame.items()):
            yield Issue("not-taken", f"{count} shapes of tracks, {why}", data.xml)
        for name in data.images.links_out:
            yield Issue("image-link", f"'{name}' is a link out of {data.images.folder}", name)

    def __len__(self) -> int:
        return sum(entry.split == self._split for entry in self._data.entries.values())

    def samples(self) -> Iterator[Sample]:
        """Images as the XML lists them, then frames of videos and images that it does not list."""
        data = self._data
        mine = {key: entry for key, entry in data.entries.items() if entry.split == self._split}
        found: dict[str, _Found] = defaultdict(_Found)
        for element in data.elements():
            if element.tag == "image":
                subset, name = element.get("subset", ""), element.get("name")
                key = data.file_of(name, subset)[0] or f"{subset}/{name}"
                if key not in mine:
                    continue
                self._read_image(element, mine[key], found[key])
                if found[key].seen == mine[key].listed and not mine[key].has_frame:
                    yield self._sample(key, mine[key], found.pop(key))
            elif element.tag == "track":
                self._read_track(element, mine, found)
        for key, entry in mine.items():
            if entry.has_frame:
                yield self._sample(key, entry, found.pop(key, _Found()))

    def _read_image(self, image: Element, entry: Entry, found: _Found) -> None:
        found.seen += 1
        found.declared_hw = (_length(image.get("height")), _length(image.get("width")))
        found.extra = {name: image.get(name) for name in ("id", "task_id") if image.get(name)}
        size = partial(self._size, entry, found.declared_hw)
        reader = ShapeReader(entry.image or str(image.get("name")), self._labels, size)
        for position, shape in enumerate(image, start=1):
            number = len(found.objects) + 1
            if (one := reader.read(shape, number, f"shape {position}")) is not None:
                found.objects.append(one)
        found.issues += reader.issues

    def _read_track(self, track: Element, mine: dict[str, Entry], found: dict[str, _Found]) -> None:
        subset = track.get("subset", "")
        for shape in visible_shapes(track):
            key = self._data.frame_of(frame_number(shape), subset)
            if shape.tag not in SHAPES or key is None or key not in mine:
                continue
            reader = ShapeReader(key, self._labels, partial(self._size, mine[key], found[key].declared_hw))
            where = f"track {track.get('id')} at frame {shape.get('frame')}"
            one = reader.read(shape, len(found[key].objects) + 1, where, str(track.get("label")))
            if one is not None:
                found[key].objects.append(one)
            found[key].issues += reader.issues

    def _size(self, entry: Entry, declared_hw: tuple[Any, Any] | None) -> tuple[int, int] | None:
        """As declared; that of the file where nothing is."""
        if declared_hw and all(isinstance(side, int) and 0 < side < 1 << 20 for side in declared_hw):
            return declared_hw
        try:
            return image_size(self._data.bytes_or_path(entry.image)) if entry.image else None
        except UserError:
            return None

    def _sample(self, key: str, entry: Entry, found: _Found) -> Sample:
        issues = [*entry.issues, *found.issues]
        image = None
        if entry.image is not None:
            try:
                image = self._data.bytes_or_path(entry.image)
            except UserError as error:
                issues.append(Issue("image-damaged", str(error), entry.image))
        return Sample(
            image=image,
            file_name=key.removeprefix("/"),
            image_id=entry.number,
            objects=found.objects,
            declared_hw=found.declared_hw,
            issues=tuple(issues),
            extra=found.extra,
        )


def _length(text: str | None) -> Any:
    """A side in pixels; what is no whole number is left for `repair` to judge."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else text
