"""Which image belongs to which annotation file, where each image has a file of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue


@dataclass(frozen=True)
class Entry:
    """An image, its annotation file, or both; names are relative to the data set's folder.

    Attributes:
        said: what else calls it, where it has neither.
        is_inside: whether the annotation file holds the image, which ``image`` then only names.
    """

    image: str | None = None
    file: str | None = None
    issues: tuple[Issue, ...] = ()
    said: str = ""
    is_inside: bool = False

    @property
    def file_name(self) -> str:
        return self.image or self.file or self.said


@dataclass(frozen=True)
class Scan:
    """What an annotation file says before its objects are read.

    Attributes:
        names: by which it may mean its image, the best first.
        classes: of its objects.
        inside: a name for the image that the file holds; empty where it holds none.
        error: why it cannot be read.
    """

    names: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    inside: str = ""
    error: str = ""


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
    claimed: dict[str, str] = {}
    entries: dict[str, list[Entry]] = defaultdict(list)
    # Those that have an image of their own name take it before others can.
    for file in sorted(scans, key=lambda name: len(by_key.get(key_of(name), [])) != 1):
        scan = scans[file]
        image, issue = _image_of(file, scan, by_key.get(key_of(file), []), images)
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
        entries[key_of(file)].append(Entry(image, file, (issue,) if issue else (), is_inside=is_inside))
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
