"""Which images a CVAT XML lists, and what is known of them before their shapes are read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from detr_hf.data.archive import Files
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sources.base import Place
from detr_hf.data.sources.cvat_shapes import SHAPES
from detr_hf.data.xml_files import elements_of_stream

FRAME = re.compile(r"(?:.*/)?frame_(\d+)\.[A-Za-z]+")
FRAME_SUFFIX = ".PNG"  # of the frames of a video on the disk; the XML names them without


@dataclass
class Entry:
    """An image: how often the XML lists it, and what is known of it before its shapes are read."""

    split: str
    image: str | None
    issues: tuple[Issue, ...] = ()
    listed: int = 0
    number: int = 0
    has_frame: bool = False


class CvatIndex:
    """One XML file, which all splits share: its labels and which images it lists."""

    def __init__(self, place: Place, files: Files, xml: str) -> None:
        self.place, self.files, self.xml = place, files, xml
        parent = PurePosixPath(xml).parent.as_posix().removeprefix(".")
        below = f"{parent}/images".removeprefix("/")
        self.root = below if files.images_below(below).names else parent
        self.images = ImageFiles(place.images) if place.images else files.images_below(self.root)
        self.labels: dict[str, dict[str, Any]] = {}
        self.drawn: set[str] = set()
        self.entries: dict[str, Entry] = {}
        self.shapes_without_frame: Counter[str] = Counter()
        self.lost_tracks = 0
        self._index()

    def elements(self) -> Iterator[Element]:
        """Raises UserError: the file is no such XML."""
        name = self.place.name if self.place.path.name == self.xml else f"{self.place.name}, {self.xml}"
        with self.files.open(self.xml) as file:
            yield from elements_of_stream(file, ("meta", "image", "track"), name)

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(entry.split for entry in self.entries.values())) or ["train"]

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The labels in their order; those of the objects where none are listed."""
        known = list(self.labels.values()) or [{"name": name} for name in sorted(self.drawn)]
        return [{"id": id_, **one} for id_, one in enumerate(known, start=1)]

    def bytes_or_path(self, image: str) -> Path | bytes:
        """Raises UserError: a member of a zip is damaged."""
        if self.place.images:
            return self.place.images / image
        return self.files.image(f"{self.root}/{image}".removeprefix("/"))

    def file_of(self, name: str | None, subset: str) -> tuple[str | None, Issue | None]:
        """The image that the XML names; images of a project lie in a folder for each subset."""
        for said in (f"{subset}/{name}", f"{subset}/{name}{FRAME_SUFFIX}", f"{name}{FRAME_SUFFIX}"):
            if subset or not said.startswith("/"):
                found, issue = self.images.find(said)
                if found == said and issue is None:
                    return found, None
        return self.images.find(name)

    def frame_of(self, number: int, subset: str) -> str | None:
        """The image of a video's frame."""
        found = self._frames.get(number, [])
        below = [name for name in found if subset and name.startswith(f"{subset}/")] or found
        return below[0] if len(below) == 1 else None

    def _index(self) -> None:
        tracks = False
        self._frames: dict[int, list[str]] = defaultdict(list)
        for name in self.images.names:
            if frame := FRAME.fullmatch(name):
                self._frames[int(frame[1])].append(name)
        for element in self.elements():
            if element.tag == "meta":
                self._add_labels(element)
            elif element.tag == "image":
                self._add_image(element)
                self.drawn.update(str(one.get("label")) for one in element if one.tag in SHAPES)
            else:
                tracks = True
                self._add_track(element)
        self._name_splits()
        keep = self.place.reading.unlisted_images == "keep"
        first = self.splits[0]
        for name in self.images.names:
            if name in self.entries:
                continue
            is_frame = tracks and FRAME.fullmatch(name) is not None
            split = name.partition("/")[0].lower()
            issue = Issue("unlisted-kept" if keep else "unlisted", f"not in {self.xml}", name)
            self.entries[name] = Entry(
                split if split in self.splits else first, name, () if is_frame else (issue,), has_frame=True
            )
        for number, entry in enumerate(self.entries.values(), start=1):
            entry.number = number

    def _add_labels(self, meta: Element) -> None:
        for label in meta.iter("label"):
            name = label.findtext("name")
            if name and not label.findtext("parent"):  # those with one are points of a skeleton
                color = re.fullmatch(r"#([0-9a-fA-F]{6})", (label.findtext("color") or "").strip())
                shade = {"color": list(bytes.fromhex(color[1]))} if color else {}
                self.labels.setdefault(name, {"name": name, **shade})

    def _add_image(self, image: Element) -> None:
        subset, name = image.get("subset", ""), image.get("name")
        found, issue = self.file_of(name, subset)
        key = found if found is not None else f"{subset}/{name}"
        issues = (issue,) if issue is not None else ()
        entry = self.entries.setdefault(key, Entry(subset.lower(), found, issues))
        entry.listed += 1
        if entry.listed == 2:
            entry.issues += (Issue("image-twice", f"'{name}' in {self.xml}", found or str(name)),)

    def _add_track(self, track: Element) -> None:
        self.drawn.add(str(track.get("label")))
        subset, taken = track.get("subset", ""), 0
        for shape in visible_shapes(track):
            if shape.tag not in SHAPES:
                self.shapes_without_frame[f"of {shape.tag}"] += 1
            elif (name := self.frame_of(frame_number(shape), subset)) is None:
                self.shapes_without_frame["without an image of their frame"] += 1
            else:
                taken += 1
                self.entries.setdefault(name, Entry(subset.lower(), name)).has_frame = True
        self.lost_tracks += not taken

    def _name_splits(self) -> None:
        """A project's subsets by name; without any, all is one split."""
        if {entry.split for entry in self.entries.values()} <= {"", "default"}:
            for entry in self.entries.values():
                entry.split = "train"
        for entry in self.entries.values():
            entry.split = entry.split or "default"


def visible_shapes(track: Element) -> Iterator[Element]:
    """The shapes of a track at the frames where the object is in the image."""
    return (shape for shape in track if shape.get("frame") is not None and shape.get("outside") != "1")


def frame_number(shape: Element) -> int:
    """-1 where it is no number."""
    text = shape.get("frame", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
