"""CVAT's own XML, "CVAT for images 1.1" and "CVAT for video 1.1": the file, its folder, or the zip itself.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Of a video, the shapes of each track are
taken at the frames whose images are there, as the export with images has them (`images/frame_000123.PNG`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from detr_hf.data.archive import Files, FolderFiles, ZipFiles, is_zip
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.cvat_shapes import SHAPES, drawn, extra_of
from detr_hf.data.sources.splits import TRAIN, DataSet, open_all
from detr_hf.data.xml_files import elements_of_stream
from detr_hf.errors import UserError
from detr_hf.images import image_size

FORMAT = "cvat-xml"
TITLE = "CVAT for images or video 1.1 (XML)"
LOOKS_FOR = "annotations.xml with the root <annotations>, in a folder or a zip"
ORDER = 30

XML = "annotations.xml"
HEAD_BYTES = 4096
NOT_TAKEN = ("polyline", "points", "cuboid", "skeleton", "tag")
FRAME = re.compile(r"(?:.*/)?frame_(\d+)\.[A-Za-z]+")
FRAME_SUFFIX = ".PNG"  # of the frames of a video on the disk; the XML names them without


def detect(path: Path) -> bool:
    """Whether it is such a file, or a folder or zip that holds one."""
    try:
        files, name = _xml_at(path)
        if name is None:
            return False
        with files.open(name) as file:
            return re.search(rb"<annotations[\s>]", file.read(HEAD_BYTES)) is not None
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """The subsets of the project, or all as "train".

    Raises:
        UserError: there is no such XML, or it cannot be read.
    """
    return open_all(FORMAT, _CvatXml(place))


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


@dataclass
class Entry:
    """An image: how often the XML lists it, and what has been read of it so far."""

    split: str
    key: str
    image: str | None
    issues: tuple[Issue, ...] = ()
    listed: int = 0
    number: int = 0
    is_last: bool = False  # comes after those that the XML lists: a frame, or an image that it does not list


@dataclass
class _Found:
    """What has been read of an image so far."""

    objects: list[Annotation] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    declared_hw: tuple[Any, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    seen: int = 0


class _CvatXml(DataSet):
    """One XML file. It is read once for its labels and images, and again for the shapes of each split."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._files, xml = _xml_at(place.path)
        if xml is None:
            raise UserError(f"{place.name}: there is no {XML} in {place.path}")
        self._xml = xml
        parent = PurePosixPath(xml).parent.as_posix().removeprefix(".")
        below = f"{parent}/images".removeprefix("/")
        self._root = below if self._files.images_below(below).names else parent
        self._images = ImageFiles(place.images) if place.images else self._files.images_below(self._root)
        self._labels: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []  # of the images, in the order of the file
        self._lost: Counter[str] = Counter()  # shapes of tracks
        self._lost_tracks = 0
        self._frames: dict[int, list[str]] = defaultdict(list)
        for name in self._images.names:
            if frame := FRAME.fullmatch(name):
                self._frames[int(frame[1])].append(name)
        self._index()
        splits: dict[str, list[Entry]] = {}
        for number, entry in enumerate(self._entries.values(), start=1):
            entry.number = number
            splits.setdefault(entry.split, []).append(entry)
        self.splits = splits or {TRAIN: []}

    # -- the first pass: labels, and which images are listed

    def _elements(self) -> Iterator[Element]:
        """Raises UserError: the file is no such XML."""
        name = self.place.name if self.place.path.name == self._xml else f"{self.place.name}, {self._xml}"
        with self._files.open(self._xml) as file:
            yield from elements_of_stream(file, ("meta", "image", "track"), name)

    def _index(self) -> None:
        labels: set[str] = set()
        has_tracks = False
        for element in self._elements():
            if element.tag == "meta":
                self._add_labels(element)
            elif element.tag == "image":
                self._add_image(element)
                labels.update(str(one.get("label")) for one in element if one.tag in SHAPES)
            else:
                has_tracks = True
                self._add_track(element)
                labels.add(str(element.get("label")))
        self._labels = self._labels or {name: {"name": name} for name in sorted(labels)}
        # A project's subsets by name; without any, all is one split.
        listed = {entry.split for entry in self._entries.values()}
        for entry in self._entries.values():
            entry.split = TRAIN if listed <= {"", "default"} else entry.split or "default"
        splits = list(dict.fromkeys(entry.split for entry in self._entries.values())) or [TRAIN]
        for name in self._images.names:
            if name not in self._entries:
                split = name.partition("/")[0].lower()
                split = split if split in splits else splits[0]
                is_frame = has_tracks and FRAME.fullmatch(name) is not None
                issues = () if is_frame else (self.unlisted(name, f"not in {self._xml}"),)
                self._entries[name] = Entry(split, name, name, issues, is_last=True)

    def _add_labels(self, meta: Element) -> None:
        for label in meta.iter("label"):
            name = label.findtext("name")
            if name and not label.findtext("parent"):  # those with one are points of a skeleton
                color = re.fullmatch(r"#([0-9a-fA-F]{6})", (label.findtext("color") or "").strip())
                shade = {"color": list(bytes.fromhex(color[1]))} if color else {}
                self._labels.setdefault(name, {"name": name, **shade})

    def _add_image(self, image: Element) -> None:
        name, subset = image.get("name"), image.get("subset", "")
        found, issue = self._file_of(image)
        key = found or f"{subset}/{name}"
        issues = (issue,) if issue is not None else ()
        self._keys.append(key)
        entry = self._entries.setdefault(key, Entry(subset.lower(), key, found, issues))
        entry.listed += 1
        if entry.listed == 2:
            entry.issues += (Issue("image-twice", f"'{name}' in {self._xml}", found or str(name)),)

    def _add_track(self, track: Element) -> None:
        taken = 0
        for shape, name in self._shapes_of(track):
            if shape.tag not in SHAPES:
                self._lost[f"of {shape.tag}"] += 1
            elif name is None:
                self._lost["without an image of their frame"] += 1
            else:
                taken += 1
                split = track.get("subset", "").lower()
                self._entries.setdefault(name, Entry(split, name, name)).is_last = True
        self._lost_tracks += not taken

    def _file_of(self, image: Element) -> tuple[str | None, Issue | None]:
        """The image that the XML names; images of a project lie in a folder for each subset."""
        name, subset = image.get("name"), image.get("subset", "")
        for said in (f"{subset}/{name}", f"{subset}/{name}{FRAME_SUFFIX}", f"{name}{FRAME_SUFFIX}"):
            if subset or not said.startswith("/"):
                found, issue = self._images.find(said)
                if found == said and issue is None:
                    return found, None
        return self._images.find(name)

    def _shapes_of(self, track: Element) -> Iterator[tuple[Element, str | None]]:
        """The shapes of a track at the frames where the object is in the image, with the image of each."""
        start = f"{track.get('subset', '')}/"
        for shape in track:
            frame = shape.get("frame")
            if frame is not None and shape.get("outside") != "1":
                number = int(frame) if frame.isascii() and frame.isdigit() and len(frame) < 12 else -1
                found = self._frames.get(number, [])
                below = [name for name in found if name.startswith(start)] or found
                yield shape, below[0] if len(below) == 1 else None

    # -- the second pass: shapes

    def categories(self) -> list[dict[str, Any]]:
        """The labels in their order; those of the objects where none are listed."""
        return [{"id": id_, **one} for id_, one in enumerate(self._labels.values(), start=1)]

    def issues(self) -> Iterable[Issue]:
        """What of the tracks is not taken, and links out of the folder."""
        if self._lost_tracks:
            text = f"{self._lost_tracks} tracks; export with images to have their frames"
            yield Issue("not-taken", text, self._xml)
        for why, count in sorted(self._lost.items()):
            yield Issue("not-taken", f"{count} shapes of tracks, {why}", self._xml)
        for name in self._images.links_out:
            yield Issue("image-link", f"'{name}' is a link out of {self._images.folder}", name)

    def samples(self, split: str) -> Iterator[Sample]:
        """Images as the XML lists them, then frames of videos and images that it does not list."""
        mine = {entry.key: entry for entry in self.splits[split]}
        found: dict[str, _Found] = defaultdict(_Found)
        keys = iter(self._keys)
        for element in self._elements():
            if element.tag == "image":
                if (key := next(keys, "")) in mine:
                    self._read_image(element, mine[key], found[key])
                    if found[key].seen == mine[key].listed and not mine[key].is_last:
                        yield self._made(mine[key], found.pop(key))
            elif element.tag == "track":
                self._read_track(element, mine, found)
        for key, entry in mine.items():
            if entry.is_last:
                yield self._made(entry, found.pop(key, _Found()))

    def _read_image(self, image: Element, entry: Entry, found: _Found) -> None:
        found.seen += 1
        found.declared_hw = (_length(image.get("height")), _length(image.get("width")))
        found.extra = {name: image.get(name) for name in ("id", "task_id") if image.get(name)}
        for position, shape in enumerate(image, start=1):
            self._read(shape, entry, found, f"shape {position}", shape.get("label"))

    def _read_track(self, track: Element, mine: dict[str, Entry], found: dict[str, _Found]) -> None:
        for shape, key in self._shapes_of(track):
            if shape.tag in SHAPES and key in mine and key is not None:
                where = f"track {track.get('id')} at frame {shape.get('frame')}"
                self._read(shape, mine[key], found[key], where, str(track.get("label")))

    def _read(self, shape: Element, entry: Entry, found: _Found, where: str, label: str | None) -> None:
        """One child of an `<image>` or of a `<track>`."""
        file = entry.image or entry.key.removeprefix("/")
        if shape.tag in NOT_TAKEN:
            found.issues.append(Issue("not-taken", f"{where}: a {shape.tag}", file))
        if shape.tag not in SHAPES:
            return
        bbox, segmentation, issue = drawn(shape, partial(self._size, entry, found.declared_hw))
        if issue is not None:
            found.issues.append(Issue(issue[0], f"{where}: {issue[1]}", file))
        found.objects.append(
            Annotation(
                id=len(found.objects) + 1,
                category=label if label in self._labels else None,
                bbox=bbox,
                segmentation=segmentation,
                where=where,
                category_id=label,
                extra=extra_of(shape),
            )
        )

    def _size(self, entry: Entry, declared_hw: tuple[Any, Any] | None) -> tuple[int, int] | None:
        """As declared; that of the file where nothing is."""
        if declared_hw and all(isinstance(side, int) and 0 < side < 1 << 20 for side in declared_hw):
            return declared_hw
        try:
            return image_size(self._content(entry.image)) if entry.image else None
        except UserError:
            return None

    def _content(self, image: str) -> Path | bytes:
        """Raises UserError: a member of a zip is damaged."""
        if self.place.images:
            return self.place.images / image
        return self._files.image(f"{self._root}/{image}".removeprefix("/"))

    def _made(self, entry: Entry, found: _Found) -> Sample:
        issues = [*entry.issues, *found.issues]
        image = None
        try:
            image = self._content(entry.image) if entry.image is not None else None
        except UserError as error:
            issues.append(Issue("image-damaged", str(error), entry.image or ""))
        return Sample(
            image=image,
            file_name=entry.key.removeprefix("/"),
            image_id=entry.number,
            objects=found.objects,
            declared_hw=found.declared_hw,
            issues=tuple(issues),
            extra=found.extra,
        )


def _length(text: str | None) -> Any:
    """A side in pixels; what is no whole number is left for `repair` to judge."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else text
