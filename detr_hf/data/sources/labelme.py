"""labelme: a JSON file of shapes for each image.

Format: https://github.com/wkentaro/labelme (``labelme/_label_file.py``). The image of a file is the one of
the same name beside it, as labelme saves it; else the one that ``imagePath`` names, relative to the JSON;
else the bytes in ``imageData``. labelme turns images upright by EXIF before it shows them. Its data have no
splits.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.data.image_files import IMAGE_SUFFIXES, ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.folder_search import first_files
from detr_hf.data.sources.labelme_shapes import ShapeReader, class_name, decoded_base64, kind_of
from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.foreign_files import open_file, parse_json, read_bytes
from detr_hf.images import image_size

FORMAT = "labelme"
TITLE = "labelme (a JSON file an image)"
LOOKS_FOR = "images with a .json beside each, which has `shapes`"
ORDER = 60

MAX_FILE_BYTES = 400_000_000
"""Largest JSON file: it may hold the image."""

HEAD_BYTES = 1 << 16


def detect(path: Path) -> bool:
    """Whether it is a labelme file, or a folder in which one of the first JSON files is one."""
    return any(map(_is_labelme, [path] if path.is_file() else first_files(path, ".json")))


def _is_labelme(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    try:
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
        if re.search(rb'"shapes"\s*:\s*\[', head) and not re.search(
            rb'"(images|annotations)"\s*:\s*\[', head
        ):
            return (
                re.search(rb'"(version|flags|shape_type|imagePath|imageData|imageHeight)"\s*:', head)
                is not None
            )
        # Only an image may stand before the shapes.
        return b'"imageData"' in head and _shapes(_content(path, "")) is not None
    except UserError:
        return False


def _content(path: Path, name: str) -> Any:
    return parse_json(read_bytes(path, MAX_FILE_BYTES, "labelme file", name or None), name, any_number=True)


def _shapes(content: Any) -> list[Any] | None:
    """The shapes of a file; None where it is none of labelme."""
    shapes = content.get("shapes") if isinstance(content, dict) else None
    return shapes if isinstance(shapes, list) else None


def open_splits(place: Place) -> Opened:
    """All images as "train".

    Raises:
        UserError: there is no JSON file of labelme.
    """
    source = LabelmeSource(place)
    if not any(entry.json for entry in source.entries):
        raise UserError(f"{place.name}: there is no labelme file in {place.path}")
    return Opened({"train": source})


@dataclass(frozen=True)
class Entry:
    """An image, its JSON file, or both; names are relative to the data set's folder."""

    image: str | None = None
    json: str | None = None
    is_inside: bool = False  # the JSON file holds the image
    issues: tuple[Issue, ...] = ()

    @property
    def file_name(self) -> str:
        return self.image or self.json or ""


class LabelmeSource(Source):
    """The labelme files of a folder, or one of them alone."""

    def __init__(self, place: Place) -> None:
        self.name, self._place = place.name, place
        self._is_one = place.path.is_file()
        self._folder = place.path.parent if self._is_one else place.path
        self._files = ImageFiles(self._folder)
        self._images = self._files if place.images is None else ImageFiles(place.images)
        self._issues: list[Issue] = []

    @property
    def key(self) -> str:
        place = self._place
        if self._is_one:
            own = hash_of_words([sha256_of(place.path), *(entry.file_name for entry in self.entries)])
        else:
            own = hash_of_folder(self._folder)
        images = [] if place.images is None else [hash_of_folder(place.images)]
        return hash_of_words([FORMAT, repr(place.reading), own, *images])

    def categories(self) -> list[dict[str, Any]]:
        return [{"id": id_, "name": name} for id_, name in enumerate(self._scan[1], start=1)]

    def issues(self) -> Iterable[Issue]:
        return self._scan and self._issues

    def samples(self) -> Iterator[Sample]:
        for number, entry in enumerate(self.entries, start=1):
            yield self._sample(entry, number)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def entries(self) -> list[Entry]:
        """Sorted by name."""
        return self._scan[0]

    # -- the first pass: images, and names of classes

    @cached_property
    def _scan(self) -> tuple[list[Entry], list[str]]:
        names: set[str] = set()
        claimed: dict[str, str] = {}
        entries = []
        jsons = [self._place.path.name] if self._is_one else self._json_files()
        # Those that have an image of their own name take it before others can.
        for json in sorted(jsons, key=lambda name: not self._same_name(name)):
            try:
                content = _content(self._folder / json, json)
            except UserError as error:
                same = self._same_name(json)
                issue = Issue("annotation-unreadable", str(error), same[0] if same else json)
                entries.append(Entry(same[0] if len(same) == 1 else None, json, issues=(issue,)))
                claimed |= dict.fromkeys(same[:1], json)
                continue
            shapes = _shapes(content)
            if shapes is None:
                self._issues.append(Issue("not-read", "no labelme file: it has no list of shapes", json))
                continue
            entries.append(self._entry(json, content, claimed))
            names |= _class_names(shapes)
        if not self._is_one:
            entries += [
                Entry(name) for name in self._images.names if name not in claimed and not _is_hidden(name)
            ]
            self._issues += [
                Issue("image-link", "", name)
                for name in self._files.links_out
                if name.lower().endswith(".json")
            ]
        return sorted(entries, key=lambda entry: entry.file_name), sorted(names)

    def _json_files(self) -> list[str]:
        return [
            name for name in self._files.others if name.lower().endswith(".json") and not _is_hidden(name)
        ]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in self._images.names:
            found[_stem(name)].append(name)
        return found

    def _same_name(self, json: str) -> list[str]:
        """The images of a JSON's own name; the folder around a single file is not listed for it."""
        return [] if self._is_one else self._by_stem.get(_stem(json), [])

    def _entry(self, json: str, content: dict[str, Any], claimed: dict[str, str]) -> Entry:
        said = content.get("imagePath")
        has_data = isinstance(content.get("imageData"), str) and content["imageData"] != ""
        image, issue = self._found(json, said, has_data)
        if image is not None and image in claimed:
            issue = Issue("image-ambiguous", f"{image} is annotated by {claimed[image]}", json)
            return Entry(None, json, issues=(issue,))
        if image is not None:
            claimed[image] = json
        elif has_data:
            return Entry(_name_of_data(json, said), json, is_inside=True)
        return Entry(image, json, issues=(issue,) if issue is not None else ())

    def _found(self, json: str, said: Any, has_data: bool) -> tuple[str | None, Issue | None]:
        text = said.replace("\\", "/") if isinstance(said, str) else ""
        last = posixpath.basename(text)
        same = self._same_name(json)
        same = same if len(same) < 2 else [name for name in same if posixpath.basename(name) == last]
        if len(same) == 1:
            differs = last and last != posixpath.basename(same[0])
            issue = Issue("file-renamed", f"{json} says '{said}'", same[0])
            return same[0], issue if differs else None
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(json), text))
        if text and not beside.startswith(".."):
            found = self._images.find(beside)
            if found[0] == beside:
                return found
        found = self._images.find(said) if text else (None, Issue("file-name", f"imagePath {said!r}", json))
        if found[0] is None and not has_data:
            by_name = self._images.find(PurePosixPath(json).stem)
            found = by_name if by_name[0] is not None else found
        return found

    # -- the second pass

    def _sample(self, entry: Entry, number: int) -> Sample:
        image: Path | bytes | None = None if entry.image is None else self._images.folder / entry.image
        issues = list(entry.issues)
        made = Sample(image, entry.file_name, number, [], issues=entry.issues)
        if entry.json is None:
            keep = self._place.reading.unlisted_images == "keep"
            issues.append(Issue("unlisted-kept" if keep else "unlisted", "no JSON file", entry.file_name))
        if entry.json is None or any(issue.code == "annotation-unreadable" for issue in issues):
            return replace(made, issues=tuple(issues))
        try:
            content = _content(self._folder / entry.json, entry.json)
            if entry.is_inside:
                image = decoded_base64(content.get("imageData"))
        except UserError as error:
            issues.append(Issue("annotation-unreadable", str(error), entry.file_name))
            return replace(made, image=None, issues=tuple(issues))
        declared_hw = content.get("imageHeight"), content.get("imageWidth")
        reader = ShapeReader(entry.file_name, lambda: _size(declared_hw, image))
        objects = reader.read(_shapes(content) or [])
        return replace(
            made,
            image=image,
            objects=objects,
            declared_hw=None if declared_hw == (None, None) else declared_hw,
            issues=(*issues, *reader.issues),
            extra={"flags": content["flags"]} if content.get("flags") else {},
        )


def _size(declared_hw: tuple[Any, Any], image: Path | bytes | None) -> tuple[int, int] | None:
    """Of the image as it was annotated: as declared, else as the file has it."""
    height, width = declared_hw
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    try:
        return image_size(image) if image is not None else None
    except UserError:
        return None


def _class_names(shapes: list[Any]) -> set[str]:
    """Of the shapes that are read as objects."""
    objects = (shape for shape in shapes if kind_of(shape) is not None)
    return {name for shape in objects if (name := class_name(shape.get("label"))) is not None}


def _name_of_data(json: str, said: Any) -> str:
    """A file name for bytes: the JSON's, with the extension of the image that it was made from."""
    suffix = PurePosixPath(said).suffix.lower() if isinstance(said, str) else ""
    return json[: -len(".json")] + (suffix if suffix in IMAGE_SUFFIXES else ".png")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", str(PurePosixPath(name).with_suffix(""))).casefold()
