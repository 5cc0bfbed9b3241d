"""What there is to predict: the images and videos that a user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from detr_hf.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif"}


@dataclass
class Sources:
    """Image files, and videos: files, or the numbers of cameras."""

    images: list[Path] = field(default_factory=list)
    videos: list[Path | int] = field(default_factory=list)


def find_sources(words: Sequence[str]) -> Sources:
    """The images and videos that words of a command line mean, each once.

    A word is a file, a folder (the images directly in it), a pattern (``*``, ``?``, ``[...]``, ``**``) or the
    number of a camera. A file or folder of exactly that name is used, even if the name looks like a pattern.
    Whether a file can be read is not checked here.

    Raises:
        UserError: a word means nothing that is there.
    """
    images: dict[Path, None] = {}
    videos: dict[Path | int, None] = {}
    for word in words:
        path = Path(word)
        if word.isdecimal() and not os.path.exists(word):
            videos[int(word)] = None
        elif os.path.isdir(word):
            images |= dict.fromkeys(find_images(path))
        else:
            for file in [path] if os.path.exists(word) else _matches(word):
                (videos if file.suffix.lower() in VIDEO_SUFFIXES else images)[file] = None
    return Sources(list(images), list(videos))


def find_images(source: Path) -> list[Path]:
    """The image file itself, or all image files directly in a folder, sorted; hidden ones are left out.

    Raises:
        UserError: nothing is there.
    """
    if os.path.exists(source) and not source.is_dir():
        return [source]
    found = sorted(
        path
        for path in source.glob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        below = (file for pattern in ("*/*", "*/*/*") for file in source.glob(pattern))
        near = next((file.parent for file in below if file.suffix.lower() in IMAGE_SUFFIXES), None)
        what = "holds no image" if source.is_dir() else "does not exist"
        if (source / "config.json").is_file():
            what = "is a model, which comes before the images"
        such = f", such as {near}" if near is not None else ""
        raise UserError(f"{source} {what}; give an image file or a folder of images{such}.")
    return found


def image_names(sources: Sequence[Path], root: Path | None = None) -> list[str]:
    """The name of each image in a file for all: relative to ``root``, or to the folder that holds them all.

    Raises:
        UserError: an image lies outside of ``root``.
    """
    paths = [os.path.abspath(path) for path in sources]
    if not paths:
        return []
    if root is None:
        try:
            root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
        except ValueError:  # of Windows
            raise UserError("the images are on several drives, so no folder holds them all.") from None
    folder = os.path.abspath(root)
    for path in paths:
        if not Path(path).is_relative_to(folder):
            raise UserError(f"{path} is outside of --image-root {root}; name a folder that holds all images.")
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def _matches(word: str) -> list[Path]:
    """Image and video files whose path fits a pattern, sorted."""
    pattern = Path(word)
    found = [Path(pattern.anchor)]
    for part in pattern.relative_to(pattern.anchor).parts:
        found = [deeper for folder in found for deeper in _inside(folder, part)]
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files = sorted(
        {path for path in found if path.suffix.lower() in known and path.exists() and not path.is_dir()}
    )
    if not files:
        what = "fits no image or video" if any(sign in word for sign in "*?[") else "does not exist"
        raise UserError(
            f"{word} {what}; give an image, a folder of images, a video, a pattern such as 'photos/*.jpg', "
            "or the number of a camera."
        )
    return files


def _inside(folder: Path, part: str) -> list[Path]:
    """What fits one part of a pattern in a folder. Brackets that fit nothing as a choice of signs mean
    themselves."""
    if os.path.exists(folder / part):  # unlike `Path.exists` it answers for a name that is too long
        return [folder / part]
    if part == "**":
        return [folder, *(folder / name for name in glob("**/", root_dir=folder, recursive=True))]
    found = glob(part, root_dir=folder) or glob(part.replace("[", "[[]"), root_dir=folder)
    return [folder / name for name in found]
