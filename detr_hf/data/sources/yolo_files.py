"""Where the images and label files of a YOLO data set are."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from detr_hf.data.image_files import ImageFiles, is_image, plain_key
from detr_hf.data.issues import Issue
from detr_hf.data.sources.yolo_labels import lines_of, looks_like_labels, read_lines
from detr_hf.errors import UserError, quantity
from detr_hf.foreign_files import is_within, read_bytes

MAX_LIST_BYTES = 200_000_000
DARKNET = "data/"
"""What Darknet and CVAT write before paths relative to the list: Darknet is run from the folder above."""

_ABSOLUTE = re.compile(r"/|[A-Za-z]:")


class Listed(NamedTuple):
    """An image of a split: its name relative to the folder of images, or why there is none."""

    name: str | None
    said: str
    issue: Issue | None = None


class YoloFiles:
    """Images and labels by their paths relative to their folders, which no path leaves.

    Args:
        root: holds the configuration, lists and labels.
        images: holds the images, and labels beside them; ``root`` where left out.
    """

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root = root
        self.images = ImageFiles(images or root)
        self.folders = [self.images] if images in (None, root) else [self.images, ImageFiles(root)]
        self.names = frozenset(self.images.names)
        self.links_out = list(filter(is_image, self.images.links_out))

    def find_entry(self, said: str, below: str = "") -> tuple[list[Path], bool]:
        """What an entry of the configuration means: folders, lists or images.

        It is taken as it is written where that is there, else by its last parts. Ultralytics itself takes
        ``../train/images``, as Roboflow writes it, as ``train/images``.

        Args:
            said: a path or glob.
            below: what it is relative to: ``path`` of the configuration.

        Returns:
            what is there, if anything, and whether it had to be guessed.
        """
        joined = posixpath.join(below, said).replace("\\", "/") if not _ABSOLUTE.match(said) else said
        joined = joined.removeprefix(self.images.folder.absolute().as_posix() + "/")
        words = [word for word in joined.split("/") if word not in ("", ".", "..")]
        guesses = [] if _ABSOLUTE.match(joined) else [joined]
        guesses += ["/".join(words[start:]) for start in range(len(words))]
        plain = {posixpath.normpath(joined.removeprefix(start)) for start in ("", "../", DARKNET)}
        for guess in guesses:
            if found := self._matches(posixpath.normpath(guess)):
                return found, posixpath.normpath(guess) not in plain
        return [], False

    def _matches(self, path: str) -> list[Path]:
        """The path if it is there, or what matches it if it is a glob; nothing outside of the folders."""
        if path.startswith(("..", "/")) or "\0" in path:
            return []
        for folder in self.folders:
            try:
                exists = os.path.lexists(folder.folder / path)
                found = [folder.folder / path] if exists else sorted(folder.folder.glob(path))
                inside = [one for one in found if is_within(one, os.path.realpath(folder.folder))]
            except (ValueError, OSError, re.error):  # no name or pattern that Python takes
                continue
            if folder is not self.images:  # which may also hold lists of images that are elsewhere
                inside = [one for one in inside if one.suffix.lower() in (".txt", ".names")]
            if inside:
                return inside
        return []

    def home_of(self, path: Path) -> Path:
        """The folder of images, or the root, that a path of ``find_entry`` lies in."""
        return next(one.folder for one in self.folders if path.is_relative_to(one.folder))

    def images_of(self, path: Path) -> Iterator[Listed]:
        """The images of a folder, of a list, or the image itself.

        Raises:
            UserError: a list cannot be read.
        """
        entry = path.relative_to(self.home_of(path)).as_posix()
        if path.is_dir():
            start = "" if entry == "." else f"{entry}/"
            yield from (Listed(name, name) for name in self.images.names if name.startswith(start))
            links = (link for link in self.links_out if link.startswith(start))
            yield from (Listed(None, link, Issue("image-link", "", link)) for link in links)
        elif entry.lower().endswith(".txt"):
            content = read_bytes(path, MAX_LIST_BYTES, "list of images")
            for _, line in lines_of(content):
                said = line.strip()
                plain = said.replace("\\", "/")
                guesses = (
                    posixpath.join(posixpath.dirname(entry), plain),
                    plain,
                    plain.removeprefix(DARKNET),
                )
                name = next((one for one in map(posixpath.normpath, guesses) if one in self.names), None)
                found, issue = (name, None) if name is not None else self.images.find(said)
                yield Listed(found, said, issue)
        elif entry in self.names:
            yield Listed(entry, entry)

    @cached_property
    def _labels(self) -> list[dict[str, str]]:
        """For each folder, its text files by their names, and by these in any case."""
        texts = [folder.with_suffix(".txt") for folder in self.folders]
        return [{plain_key(name): name for name in found} | {name: name for name in found} for found in texts]

    def label_of(self, image: Listed) -> tuple[Path | None, str, Issue | None]:
        """The label file of an image: in the folder "labels" beside its folder "images", or beside it.

        Returns:
            the file, its name, and what is to be told of it: that it is not there, or where it is.
        """
        assert image.name is not None
        said = image.said.replace("\\", "/")
        places = dict.fromkeys([image.name, said, said.removeprefix(DARKNET)])
        wished = [name for one in places for name in _label_names(one)]
        for folder, by_key in zip(self.folders, self._labels, strict=True):
            for wish in wished:
                if name := by_key.get(wish) or by_key.get(plain_key(wish)):
                    issue = Issue("file-renamed", f"its labels are in '{name}'", image.name)
                    return folder.folder / name, name, None if name == wish else issue
            for link in folder.links_out:
                if any(f"{wish}/".startswith(f"{link}/") for wish in wished):
                    issue = Issue("image-link", f"its labels are behind the link '{link}'", image.name)
                    return None, link, issue
        return None, wished[0], Issue("label-missing", f"there is no '{wished[0]}'", image.name)

    def orphans(self, missing: Iterable[str]) -> Iterator[Issue]:
        """Label files with objects whose image is not there; ``missing`` images are told by themselves."""
        claimed = {plain_key(label) for name in self.images.names for label in _label_names(name)}
        stems = {_stem(name) for name in missing}
        if len(self.folders) > 1:  # images elsewhere: their folders need not be those of their labels
            stems.update(map(_stem, self.images.names))
        for folder in self.folders:
            for name in folder.with_suffix(".txt"):
                path = folder.folder / name
                if plain_key(name) in claimed or _stem(name) in stems or not looks_like_labels(path):
                    continue
                try:
                    lines = len(read_lines(path, name))
                except UserError:
                    continue
                text = f"{quantity(lines, 'object')} without an image"
                yield Issue("annotation-orphan", text, name)


def _label_names(image: str) -> list[str]:
    """Where an image's labels may be, surest first."""
    parts = image.split("/")
    parts[-1] = f"{parts[-1].rpartition('.')[0] or parts[-1]}.txt"
    beside = posixpath.normpath("/".join(parts))
    places = [place for place, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if not places:
        return [beside, f"labels/{beside}"]
    parts[places[-1]] = "labels"
    return [posixpath.normpath("/".join(parts)), beside]


def _stem(name: str) -> str:
    return PurePosixPath(plain_key(name.replace("\\", "/"))).stem
