"""CVAT's own XML, "CVAT for images 1.1": the file, its folder, or the zip itself.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Tracks ("CVAT for video 1.1") are counted and
not read: the same task exported for images has their shapes frame by frame.
datumaro ("cvat") writes a file for each subset, such as train.xml.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from detr_hf.data.archive import Files, FolderFiles, ZipFiles, is_zip
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, annotated_size
from detr_hf.data.sources.cvat_shapes import SHAPES, drawn, extra_of
from detr_hf.data.sources.splits import SPLITS, TRAIN, DataSet, open_all
from detr_hf.data.xml_files import elements_of_stream
from detr_hf.errors import UserError, quantity

FORMAT = "cvat-xml"
TITLE = "CVAT for images 1.1 (XML)"
LOOKS_FOR = "annotations.xml with the root <annotations>, in a folder or a zip, or train.xml and val.xml"
ORDER = 30

XML = "annotations.xml"
HEAD_BYTES = 4096
NOT_TAKEN = ("polyline", "points", "cuboid", "skeleton", "tag")
FRAME_SUFFIX = ".PNG"  # of the frames of a video on the disk; an XML for images names them without


def detect(path: Path) -> bool:
    """Whether it is such a file, or a folder or zip that holds one."""
    try:
        files, names = _xmls_at(path)
        for name in names:
            with files.open(name) as file:
                if re.search(rb"<annotations[\s>]", file.read(HEAD_BYTES)) is None:
                    return False
        return bool(names)
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """The subsets of the project, or all as "train".

    Raises:
        UserError: there is no such XML, or it cannot be read.
    """
    return open_all(FORMAT, _CvatXml(place))


def _xmls_at(path: Path) -> tuple[Files, list[str]]:
    """The files and the names of the XML among them: one, or several that are called like splits."""
    if is_zip(path):
        archive = ZipFiles(path)
        found = [name for name in archive.names if PurePosixPath(name).name == XML]
        return archive, sorted(found, key=lambda name: (name.count("/"), name))[:1]
    if path.is_file():
        return FolderFiles(path.parent), [path.name] if path.suffix.lower() == ".xml" else []
    folder = FolderFiles(path)
    if folder.has(XML) or not path.is_dir():
        return folder, [XML]
    others = sorted(one.name for one in path.iterdir() if one.suffix.lower() == ".xml")
    are_splits = all(Path(name).stem.lower() in SPLITS for name in others)
    return folder, others if len(others) == 1 or are_splits else []  # one may have been given another name


@dataclass
class Entry:
    """An image that the XML lists, maybe several times, or one that it does not list."""

    split: str
    key: str
    image: str | None
    issues: tuple[Issue, ...] = ()
    listed: int = 0
    number: int = 0


class _CvatXml(DataSet):
    """XML files, most often one. They are read once for labels and images, and again for each split."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._files, self._xmls = _xmls_at(place.path)
        if not self._xmls:
            raise UserError(f"{place.name}: there is no {XML} in {place.path}")
        self._xml = ", ".join(self._xmls)
        parent = PurePosixPath(self._xmls[0]).parent.as_posix().removeprefix(".")
        below = f"{parent}/images".removeprefix("/")
        self._root = below if self._files.images_below(below).names else parent
        self._images = ImageFiles(place.images) if place.images else self._files.images_below(self._root)
        self._labels: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []  # of the images, in the order of the file
        self._tracks = 0
        self._index()
        splits: dict[str, list[Entry]] = {}
        for number, entry in enumerate(self._entries.values(), start=1):
            entry.number = number
            splits.setdefault(entry.split, []).append(entry)
        self.splits = splits or {TRAIN: []}

    # -- the first pass: labels, and which images are listed

    def _elements(self, *tags: str) -> Iterator[Element]:
        """Raises UserError: the file is no such XML."""
        for xml in self._xmls:
            name = self.place.name if self.place.path.name == xml else f"{self.place.name}, {xml}"
            with self._files.open(xml) as file:
                for element in elements_of_stream(file, tags, name):
                    if len(self._xmls) > 1:
                        element.set("subset", element.get("subset", Path(xml).stem))
                    yield element

    def _index(self) -> None:
        labels: set[str] = set()
        for element in self._elements("meta", "image", "track"):
            if element.tag == "meta":
                self._add_labels(element)
            elif element.tag == "image":
                self._add_image(element)
                labels.update(str(one.get("label")) for one in element if one.tag in SHAPES)
            else:
                self._tracks += 1
        self._labels = self._labels or {name: {"name": name} for name in sorted(labels)}
        # A project's subsets by name; without any, all is one split.
        listed = {entry.split for entry in self._entries.values()}
        for entry in self._entries.values():
            entry.split = TRAIN if listed <= {"", "default"} else entry.split or "default"
        splits = list(dict.fromkeys(entry.split for entry in self._entries.values())) or [TRAIN]
        for name in self._images.names:
            if name not in self._entries:
                folder = name.partition("/")[0].lower()
                issue = self.unlisted(name, f"not in {self._xml}")
                self._entries[name] = Entry(folder if folder in splits else splits[0], name, name, (issue,))

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

    def _file_of(self, image: Element) -> tuple[str | None, Issue | None]:
        """The image that the XML names; images of a project lie in a folder for each subset."""
        name, subset = image.get("name"), image.get("subset", "")
        for said in (f"{subset}/{name}", f"{subset}/{name}{FRAME_SUFFIX}", f"{name}{FRAME_SUFFIX}"):
            if subset or not said.startswith("/"):
                found, issue = self._images.find(said)
                if found == said and issue is None:
                    return found, None
        return self._images.find(name)

    # -- the second pass: shapes

    def categories(self) -> list[dict[str, Any]]:
        """The labels in their order; those of the objects where none are listed."""
        return [{"id": id_, **one} for id_, one in enumerate(self._labels.values(), start=1)]

    def issues(self) -> Iterable[Issue]:
        """Tracks, which are not taken, and links out of the folder."""
        if self._tracks:
            text = f'{quantity(self._tracks, "track")}; export "CVAT for images 1.1" to have the frames'
            yield Issue("not-taken", text, self._xml)
        for name in self._images.links_out:
            yield Issue("image-link", f"'{name}' is a link out of {self._images.folder}", name)

    def samples(self, split: str) -> Iterator[Sample]:
        """Images as the XML lists them, then those that it does not list."""
        mine = {entry.key: entry for entry in self.splits[split]}
        read: dict[str, list[Element]] = defaultdict(list)
        for key, image in zip(self._keys, self._elements("image"), strict=True):
            if key in mine:
                read[key].append(image)
                if len(read[key]) == mine[key].listed:
                    yield self._made(mine[key], read.pop(key))
        yield from (self._made(entry, []) for entry in mine.values() if not entry.listed)

    def _made(self, entry: Entry, elements: list[Element]) -> Sample:
        """The sample of an image with the shapes of all its ``<image>`` elements."""
        file, issues = entry.image or entry.key.removeprefix("/"), list(entry.issues)
        made = Sample(None, entry.key.removeprefix("/"), entry.number, [])
        try:
            made = replace(made, image=self._content(entry.image) if entry.image is not None else None)
        except UserError as error:
            issues.append(Issue("image-damaged", str(error), file))
        for element in elements:
            size_hw = _length(element.get("height")), _length(element.get("width"))
            extra = {name: element.get(name) for name in ("id", "task_id") if element.get(name)}
            made = replace(made, declared_hw=size_hw, extra=extra)
            for position, shape in enumerate(element, start=1):
                if shape.tag in NOT_TAKEN:
                    issues.append(Issue("not-taken", f"shape {position}: a {shape.tag}", file))
                elif shape.tag in SHAPES:
                    found, issue = self._annotation(shape, f"shape {position}", made)
                    made.objects.append(replace(found, id=len(made.objects) + 1))
                    issues += [Issue(issue[0], f"{found.where}: {issue[1]}", file)] if issue else []
        return replace(made, issues=tuple(issues))

    def _annotation(
        self, shape: Element, where: str, made: Sample
    ) -> tuple[Annotation, tuple[str, str] | None]:
        bbox, segmentation, issue = drawn(shape, partial(annotated_size, made.declared_hw, made.image))
        label = shape.get("label")
        found = Annotation(
            id=0,
            category=label if label in self._labels else None,
            bbox=bbox,
            segmentation=segmentation,
            where=where,
            category_id=label,
            extra=extra_of(shape),
        )
        return found, issue

    def _content(self, image: str) -> Path | bytes:
        """Raises UserError: a member of a zip is damaged."""
        if self.place.images:
            return self.place.images / image
        return self._files.image(f"{self._root}/{image}".removeprefix("/"))


def _length(text: str | None) -> Any:
    """A side in pixels; what is no whole number is left for `repair` to judge."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else text
