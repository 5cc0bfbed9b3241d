"""Where the images and label files of a YOLO data set are."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from detr_hf.data.image_files import IMAGE_SUFFIXES, ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sources.yolo_labels import lines_of, looks_like_labels, read_label_text
from detr_hf.errors import UserError
from detr_hf.foreign_files import is_within, read_bytes

MAX_LIST_BYTES = 200_000_000
DARKNET = "data/"
"""What Darknet and CVAT write before paths relative to the list: Darknet is run from the folder above."""

_DRIVE = re.compile(r"[A-Za-z]:")


class Listed(NamedTuple):
    """An image of a split: its name relative to the folder of images, or why there is none."""

    name: str | None
    said: str
    issue: Issue | None


class Label(NamedTuple):
    """The label file of an image: the file with its name for messages, or why there is none."""

    path: Path | None
    name: str
    issue: Issue | None


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

    @cached_property
    def names(self) -> frozenset[str]:
        """All images."""
        return frozenset(self.images.names)

    # -- images

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
        said, below = said.replace("\\", "/"), below.replace("\\", "/")
        joined = said if _is_absolute(said) else posixpath.join(below, said)
        joined = joined.removeprefix(self.images.folder.absolute().as_posix() + "/")
        if not _is_absolute(joined) and (found := self._matches(joined)):
            return found, False
        words = [word for word in joined.split("/") if word not in ("", ".", "..")]
        for start in range(len(words)):
            if found := self._matches("/".join(words[start:])):
                return found, not (start == 0 and joined.startswith("../"))
        return [], False

    def _matches(self, path: str) -> list[Path]:
        """The path if it is there, or what matches it if it is a glob; nothing outside of the folders."""
        path = posixpath.normpath(path)
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
                inside = [one for one in inside if one.suffix.lower() == ".txt"]
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
            yield from (Listed(name, name, None) for name in self.images.names if name.startswith(start))
        elif entry.lower().endswith(".txt"):
            yield from self.images_in_list(path, posixpath.dirname(entry))
        elif entry in self.names:
            yield Listed(entry, entry, None)

    def images_in_list(self, path: Path, folder: str) -> Iterator[Listed]:
        """The images that the lines of a list name.

        Args:
            path: of the list.
            folder: of the list, relative to that of the images; its lines may be relative to it.

        Raises:
            UserError: the list cannot be read.
        """
        text = read_bytes(path, MAX_LIST_BYTES, "list of images", str(path)).decode("utf-8-sig", "replace")
        for _, line in lines_of(text):
            said = line.strip()
            plain = said.replace("\\", "/")
            for guess in (posixpath.join(folder, plain), plain, plain.removeprefix(DARKNET)):
                name = posixpath.normpath(guess)
                if name in self.names:
                    yield Listed(name, said, None)
                    break
            else:
                found, issue = self.images.find(said)
                yield Listed(found, said, issue)

    def links_out_of(self, folders: Iterable[Path]) -> Iterator[Issue]:
        """Images, and folders that may hold some, which are links out of the data's folder."""
        home = self.images.folder
        starts = tuple(f"{path.relative_to(home).as_posix()}/" for path in folders if path.is_dir())
        for link in self.images.links_out:
            below = "./" in starts or link.startswith(starts)
            if below and (Path(link).suffix.lower() in IMAGE_SUFFIXES or (home / link).is_dir()):
                yield Issue("image-link", "it leads out of the data's folder", link)

    def unlisted(self, listed: Iterable[str]) -> Iterator[Issue]:
        """One issue for the images that are in no split, if any."""
        rest = sorted(self.names.difference(listed))
        if rest:
            yield Issue("not-read", f"{len(rest)} images are in no split: {', '.join(rest[:3])}")

    # -- labels

    @cached_property
    def _labels(self) -> list[tuple[frozenset[str], dict[str, str]]]:
        """For each folder, its text files, and the same by their names without case."""
        found = []
        for folder in self.folders:
            texts = [name for name in folder.others if name.lower().endswith(".txt")]
            found.append((frozenset(texts), {_key(name): name for name in reversed(texts)}))
        return found

    def label_of(self, image: Listed) -> Label:
        """The label file of an image: in the folder "labels" beside its folder "images", or beside it."""
        assert image.name is not None
        said = dict.fromkeys([image.name, image.said, image.said.removeprefix(DARKNET)])
        wished = [name for one in said for name in _label_names(one)]
        for folder, (texts, by_key) in zip(self.folders, self._labels, strict=True):
            for wish in wished:
                name = wish if wish in texts else by_key.get(_key(wish))
                if name is not None:
                    issue = Issue("file-renamed", f"its labels are in '{name}'", image.name)
                    return Label(folder.folder / name, name, None if name == wish else issue)
            for link in folder.links_out:
                if any(f"{wish}/".startswith(f"{link}/") for wish in wished):
                    issue = Issue("image-link", f"its labels are behind the link '{link}'", image.name)
                    return Label(None, link, issue)
        return Label(None, wished[0], Issue("label-missing", f"there is no '{wished[0]}'", image.name))

    def label_files(self) -> Iterator[tuple[Path, str]]:
        """All files that hold labels, with their names."""
        for folder, (texts, _) in zip(self.folders, self._labels, strict=True):
            for name in sorted(texts):
                if looks_like_labels(folder.folder / name):
                    yield folder.folder / name, name

    def orphans(self, missing: Iterable[str]) -> Iterator[Issue]:
        """Label files with objects whose image is not there; ``missing`` images are told by themselves."""
        claimed = {_key(label) for name in self.images.names for label in _label_names(name)}
        stems = {_stem(name) for name in missing}
        if len(self.folders) > 1:  # images elsewhere: their folders need not be those of their labels
            stems.update(map(_stem, self.images.names))
        for path, name in self.label_files():
            if _key(name) not in claimed and _stem(name) not in stems:
                yield Issue("annotation-orphan", f"{_count(path)} without an image", name)


def _label_names(image: str) -> list[str]:
    """Where an image's labels may be, surest first."""
    parts = image.replace("\\", "/").split("/")
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    parts[-1] = f"{stem}.txt"
    beside = posixpath.normpath("/".join(parts))
    places = [place for place, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if not places:
        return [beside, f"labels/{beside}"]
    parts[places[-1]] = "labels"
    return [posixpath.normpath("/".join(parts)), beside]


def _count(path: Path) -> str:
    try:
        lines = sum(1 for _ in lines_of(read_label_text(path, path.name)))
    except UserError:
        return "objects"
    return f"{lines} object{'s' if lines != 1 else ''}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    return PurePosixPath(_key(name.replace("\\", "/"))).stem


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or bool(_DRIVE.match(path))
