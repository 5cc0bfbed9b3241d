"""Data sets in which each image has an annotation file of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Place
from detr_hf.data.sources.splits import DataSet, numbered
from detr_hf.errors import UserError


@dataclass(frozen=True)
class Entry:
    """An image, its annotation file, or both; names are relative to the data set's folder."""

    image: str | None = None
    file: str | None = None
    issues: tuple[Issue, ...] = ()
    said: str = ""  # what else calls it, where it has neither
    is_inside: bool = False  # the annotation file holds the image, which ``image`` then only names

    @property
    def file_name(self) -> str:
        return self.image or self.file or self.said


@dataclass(frozen=True)
class Scan:
    """What an annotation file says before its objects are read."""

    names: list[str] = field(default_factory=list)  # by which it may mean its image, the best first
    classes: set[str] = field(default_factory=set)
    inside: str = ""  # a name for the image that the file holds, if it does
    error: str = ""  # why it cannot be read


def paired(
    scans: Mapping[str, Scan], images: ImageFiles, key_of: Callable[[str], str]
) -> dict[str, list[Entry]]:
    """Images with the annotation file of the same name; where there is none, as the file says.

    Args:
        scans: by the names of the annotation files.
        images: the images that there are.
        key_of: what the name of an image and that of its annotation file have in common.

    Returns:
        entries by that key of their annotation file, else of their image: every file and every image once.
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in images.names:
        by_key[key_of(name)].append(name)
    keys = {file: key_of(file) for file in scans}
    claimed: dict[str, str] = {}
    entries: dict[str, list[Entry]] = defaultdict(list)
    # Those that have an image of their own name take it before others can.
    for file in sorted(scans, key=lambda name: len(by_key.get(keys[name], [])) != 1):
        scan = scans[file]
        image, issue = _image_of(file, scan, by_key.get(keys[file], []), images)
        if image in claimed:
            issue = Issue("image-ambiguous", f"{image} is annotated by {claimed[image]}", file)
            image = None
        elif image is not None:
            claimed[image] = file
        elif scan.inside:
            image, issue = scan.inside, None
        if scan.error:
            issue = Issue("annotation-unreadable", scan.error, image or file)
        is_inside = image is not None and claimed.get(image) != file
        entries[keys[file]].append(Entry(image, file, (issue,) if issue else (), is_inside=is_inside))
    for key, names in by_key.items():
        entries[key] += [Entry(name) for name in names if name not in claimed]
    return entries


def _image_of(file: str, scan: Scan, same: list[str], images: ImageFiles) -> tuple[str | None, Issue | None]:
    """The image of a file; ``same`` are those of its own name."""
    said = next(iter(scan.names), "")
    last = said.replace("\\", "/").rpartition("/")[2]
    if len(same) > 1:
        same = [name for name in same if PurePosixPath(name).name == last]
    if len(same) == 1:
        is_told = last not in ("", PurePosixPath(same[0]).name) and not scan.error
        return same[0], Issue("file-renamed", f"{file} says '{said}'", same[0]) if is_told else None
    if scan.error:
        return None, None
    found = [images.find(name) for name in scan.names if name] or [images.find(PurePosixPath(file).stem)]
    return next((one for one in found if one[0] is not None), found[0])


InSplits = Callable[[dict[str, list[Entry]]], dict[str, list[Entry]]]


class FilePerImage(DataSet):
    """Each file is read once for its classes and the name of its image, and again for its objects.

    Attributes:
        folder: of the annotation files.
        files: all of it; ``images``: those that may be annotated, which may lie elsewhere.
        suffix: of annotation files.
        what: these are called.
    """

    suffix: str
    what: str

    def __init__(self, place: Place, files: ImageFiles, images: ImageFiles) -> None:
        self.place, self.folder = place, files.folder
        self.files, self.images = files, images
        names = [place.path.name] if place.path.is_file() else files.with_suffix(self.suffix)
        scans = {name: self._scanned(name) for name in names}
        self._scans = {name: scan for name, scan in scans.items() if scan is not None}
        others = [name for name in names if scans[name] is None]
        self.found = [Issue("not-read", "it is no file of this format", name) for name in others]

    def arrange(self, key_of: Callable[[str], str], in_splits: InSplits) -> None:
        """Pair files and images, by ``paired``, and put the pairs into splits.

        Raises:
            UserError: there is no file of the format.
        """
        if not self._scans:
            raise UserError(f"{self.place.name}: there is no {self.what} in {self.place.path}")
        self.splits = in_splits(paired(self._scans, self.images, key_of))
        files = [entry.file for entries in self.splits.values() for entry in entries if entry.file]
        self._classes = {name for file in files for name in self._scans[file].classes}
        self._damaged = {file for file in files if self._scans[file].error}
        self._scans = {}

    @abstractmethod
    def scan(self, name: str) -> Scan | None:
        """What a file says; None where it is none of the format. UserError where it cannot be read."""

    @abstractmethod
    def read(self, made: Sample, entry: Entry) -> Sample:
        """The sample with the objects of its file. UserError where it cannot be read."""

    def _scanned(self, name: str) -> Scan | None:
        try:
            return self.scan(name)
        except UserError as error:
            return Scan(error=str(error))

    def categories(self) -> list[dict[str, Any]]:
        return numbered(self._classes)

    def issues(self) -> Iterable[Issue]:
        links = (name for name in self.files.links_out if name.lower().endswith(self.suffix))
        return [
            *(Issue("image-link", "", name) for name in links),
            *sorted(self.found, key=lambda one: one.file),
        ]

    def sample(self, entry: Entry, number: int) -> Sample:
        image: Path | None = self.images.folder / entry.image if entry.image else None
        made = Sample(image, entry.file_name, number, [], issues=entry.issues)
        if entry.file is None:
            issues = entry.issues or (self.unlisted(entry.file_name, f"no {self.suffix[1:].upper()} file"),)
            return replace(made, issues=issues)
        if entry.file in self._damaged:
            return made
        try:
            return self.read(made, entry)
        except UserError as error:
            issue = Issue("annotation-unreadable", str(error), entry.file_name)
            return replace(made, image=None if entry.is_inside else image, issues=(*entry.issues, issue))
