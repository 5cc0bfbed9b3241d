"""Where the annotation files of a COCO data set are, and the folders of their images.

Layouts: COCO's own (`annotations/instances_train2017.json` with `train2017/` or `images/train2017/`), what
CVAT ("COCO 1.0") and datumaro export (`annotations/instances_train.json` with `images/train/` or `images/`;
https://docs.cvat.ai/docs/dataset_management/formats/format-coco/), Roboflow's (a folder a split, with
`_annotations.coco.json` beside its images), a folder a split with another JSON, and files beside or above
their images. Each may be a zip.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from detr_hf.data.archive import Files, FolderFiles, ZipFiles, is_zip
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.sources.base import MAX_JSON_BYTES
from detr_hf.data.sources.splits import SPLITS
from detr_hf.errors import UserError
from detr_hf.foreign_files import is_within, relative_name

Kind = Literal["detection", "panoptic"]

ROBOFLOW = "_annotations.coco.json"
TRIES = 20  # JSON files of a folder that are looked at, and names of images that are looked for
CHUNK = 1 << 20
OVERLAP = 64  # bytes in which a word may lie across two chunks

IMAGE_FOLDERS = ("images/{}", "images", "", "{}", "../images/{}", "../images", "../{}", "..")
PNG_FOLDERS = (
    *("panoptic_{}", "panoptic/{}", "panoptic", "../panoptic_{}", "../panoptic/{}", "../panoptic"),
    *("{}", "", "../{}"),  # which may be those of the images
)
"""From the annotation file, in the order in which they are tried; {} is its name, or its split's."""

_NAMES = re.compile(
    rf"((annotations|{'|'.join(SPLITS)})/)?[^/]+\.json|[^/]+/{re.escape(ROBOFLOW)}", re.IGNORECASE
)
_TASK = re.compile(r"^(instances|panoptic|person_keypoints|annotations|coco)_|_?(annotations|coco)$")
_NOT_READ = ("captions_", "image_info_", "stuff_")
_YEAR = re.compile(r"(?<=[a-z])(19|20)\d\d$")
_IMAGES = re.compile(rb'"images"\s*:\s*\[')
_ENTRY = re.compile(rb'"(segments_info|bbox|segmentation)"\s*:')


@dataclass(frozen=True)
class AnnotationFile:
    """A COCO JSON.

    Attributes:
        files: the folder or zip that it is in, and that its images are in.
        name: of the JSON within ``files``.
        shown: the same for people.
        split: the split that it is; empty where it was named itself.
        is_only: whether it is the only one of the data set.
        layout: its folders of "images" and "panoptic" files within ``files``, where the format says which;
            such a file may list nothing.
    """

    files: Files
    name: str
    shown: str
    split: str = ""
    is_only: bool = True
    layout: Mapping[str, str] = field(default_factory=dict)

    @property
    def here(self) -> str:
        """The folder that it is in."""
        return posixpath.dirname(self.name)

    @property
    def title(self) -> str:
        """What issues call it: its name within the data set."""
        return self.name if self.split else PurePosixPath(self.name).name

    @property
    def words(self) -> list[str]:
        """What a folder of its images may be called."""
        stem = PurePosixPath(self.name).stem
        bare = _TASK.sub("", stem)
        return [word for word in dict.fromkeys((stem, bare, _YEAR.sub("", bare), self.split)) if word]

    def folders(self, shapes: Iterable[str]) -> list[str]:
        """Folders of ``files`` by their shapes, as ``IMAGE_FOLDERS`` has them; none leads out."""
        tried = [posixpath.join(self.here, shape.format(word)) for shape in shapes for word in self.words]
        inside = [posixpath.normpath(folder) for folder in dict.fromkeys(tried)]
        kept = [folder for folder in inside if folder != ".." and not folder.startswith("../")]
        return list(dict.fromkeys("" if folder == "." else folder for folder in kept))


@dataclass(frozen=True)
class Folder:
    """A folder with images or PNG files, on the disk or in a zip; ``name`` is relative to ``files``."""

    files: Files
    name: str
    images: ImageFiles

    def content(self, name: str) -> Path | bytes:
        """The file of a name that ``images`` has found, or the bytes of a member of a zip.

        Raises:
            UserError: the member cannot be read.
        """
        return self.files.image(posixpath.join(self.name, name))


def annotation_files(path: Path, kind: Kind) -> list[AnnotationFile]:
    """The files of this kind in a folder or zip, or the file itself whatever it holds; sorted by name.

    Raises:
        UserError: the zip is none.
    """
    if path.is_file() and not is_zip(path):
        # What is beside it is found from its folder's true place, as the folder may be reached by a link.
        parent = Path(os.path.realpath(path.absolute().parent))
        name = posixpath.join(parent.name, path.name)
        return [AnnotationFile(FolderFiles(parent.parent), name, str(path))]
    files: Files = ZipFiles(path) if is_zip(path) else FolderFiles(path)
    for group in _groups(list(_json_names(files)), kind):
        if not any(_is_for(files, name, kind) for name in group[:TRIES]):
            continue
        names = [name for name in group if _is_for(files, name, kind, SPLITS)]
        splits = _split_names(names)
        return [
            AnnotationFile(files, name, f"{path}/{name}", split, len(names) == 1)
            for name, split in zip(names, splits, strict=True)
        ]
    return []


def has_kind(path: Path, kind: Kind) -> bool:
    """Whether it is a JSON of this kind, or a folder or zip with one where COCO data sets have it."""
    try:
        files = annotation_files(path, kind)
    except (UserError, OSError):
        return False
    return any(_is_for(one.files, one.name, kind) for one in files)


def required_files(path: Path, name: str, kind: Kind, looked_for: str) -> dict[str, AnnotationFile]:
    """The annotation files of a data set by split; "train" where there is one file without a split's name.

    Raises:
        UserError: there is none. That one cannot be read is said on first use.
    """
    files = annotation_files(path, kind)
    if not files:
        raise UserError(f"{name}: there is no COCO {kind} file in {path}; looked for {looked_for}")
    return {file.split or "train": file for file in files}


def _json_names(files: Files) -> Iterator[str]:
    """JSON files in the places where COCO data sets have them, sorted."""
    if isinstance(files, ZipFiles):
        names = [name for name in files.names if not name.startswith("__MACOSX/")]
        tops = {name.partition("/")[0] for name in names if "/" in name}
        top = f"{tops.pop()}/" if len(tops) == 1 and not any("/" not in name for name in names) else ""
        inside = [name for name in names if _NAMES.fullmatch(name)]
        # A folder that was zipped whole is the one folder in its zip.
        yield from inside or (name for name in names if top and _NAMES.fullmatch(name.removeprefix(top)))
        return
    found = (file.relative_to(files.path).as_posix() for file in _jsons_in(files.path))
    yield from sorted(name for name in found if _NAMES.fullmatch(name))


def _jsons_in(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.json")
    yield from folder.glob("*/*.json")


def _groups(names: list[str], kind: Kind) -> Iterator[list[str]]:
    """Files that belong together: Roboflow's, of a folder `annotations`, others, of a folder a split."""
    yield [name for name in names if PurePosixPath(name).name == ROBOFLOW]
    of_split = [name for name in names if _is_in_split(name)]
    names = [name for name in names if name not in set(of_split)]
    prefix = "instances_" if kind == "detection" else "panoptic_"
    for in_annotations in (True, False):
        found = [
            name for name in names if (PurePosixPath(name).parent.name == "annotations") == in_annotations
        ]
        of_task = [name for name in found if PurePosixPath(name).name.startswith(prefix)]
        yield of_task or [name for name in found if not PurePosixPath(name).name.startswith(_NOT_READ)]
    yield [name for name in of_split if not PurePosixPath(name).name.startswith(_NOT_READ)]


def _is_in_split(name: str) -> bool:
    return PurePosixPath(name).parent.name.casefold() in SPLITS


def _is_for(files: Files, name: str, kind: Kind, splits: Collection[str] = ()) -> bool:
    """Whether a JSON is of a kind; a broken one that is by its name, or is one of these splits, is refused
    where it is opened."""
    path, found = PurePosixPath(name), kind_of(files, name)
    starts = ("panoptic_",) if kind == "panoptic" else (ROBOFLOW, "instances_")
    return found == kind or (
        found is None and (path.name.startswith(starts) or path.stem.casefold() in splits)
    )


def _split_names(names: list[str]) -> list[str]:
    """What each split is called: "train" of `instances_train2017.json` and `train/_annotations.coco.json`."""
    paths = [PurePosixPath(name) for name in names]
    in_folder = [path.name == ROBOFLOW or _is_in_split(name) for path, name in zip(paths, names, strict=True)]
    words = [
        path.parent.name if inside else _TASK.sub("", path.stem)
        for path, inside in zip(paths, in_folder, strict=True)
    ]
    plain = [_YEAR.sub("", word) for word in words]
    if len(names) == 1:
        return [plain[0] if plain[0] in SPLITS else "train"]
    usable = all(plain) and len(set(plain)) == len(plain)
    return plain if usable else [path.with_suffix("").as_posix() for path in paths]


def kind_of(files: Files, name: str) -> Kind | None:
    """What a JSON is, by the first key that only one kind of annotation has; it is not parsed.

    A file with images and no annotation is one of detection.
    """
    has_images, kind, read, text = False, None, 0, b""
    try:
        with files.open(name) as file:
            while (chunk := file.read(CHUNK)) and read < MAX_JSON_BYTES:
                text = text[-OVERLAP:] + chunk
                if read == 0 and not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                    return None
                read += len(chunk)
                has_images = has_images or _IMAGES.search(text) is not None
                if kind is None and (entry := _ENTRY.search(text)) is not None:
                    kind = "panoptic" if entry[1] == b"segments_info" else "detection"
                if has_images and kind is not None:
                    break
    except UserError:
        return None
    return (kind or "detection") if has_images else None  # type: ignore[return-value]


def find_folder(
    file: AnnotationFile, shapes: tuple[str, ...], listed: list[str], without: Collection[str] = ()
) -> Folder | None:
    """The folder beside an annotation file that holds what it lists.

    The first that has one of the files under the very name; else the first that has one under a similar name.

    Args:
        file: the annotation file.
        shapes: of the folders that are tried.
        listed: names in the file; some of them are looked for.
        without: files that are none of these, by their names within ``file.files``.
    """
    names = listed[:: max(1, len(listed) // TRIES)]
    folders = [folder for folder in file.folders(shapes) if _is_folder_within(file.files, folder)]
    for folder in folders:
        if any(_has(file.files, folder, name, without) for name in names):
            return Folder(file.files, folder, file.files.images_below(folder, without))
    above = posixpath.dirname(file.here)  # may hold anything: names there have to be the very same
    for folder in folders:
        images = file.files.images_below(folder, without)
        if (folder != above or folder == file.here) and any(images.find(name)[0] for name in names):
            return Folder(file.files, folder, images)
    return None


def _has(files: Files, folder: str, name: str, without: Collection[str]) -> bool:
    try:
        inside = posixpath.join(folder, relative_name(files.path, name).as_posix())
    except UserError:
        return False
    return inside not in without and files.has(inside)


def _is_folder_within(files: Files, folder: str) -> bool:
    """Whether it is a folder that no link leads out of the data set to; of a zip, any."""
    if isinstance(files, ZipFiles):
        return True
    path = files.path / folder
    return path.is_dir() and is_within(path, os.path.realpath(files.path))
