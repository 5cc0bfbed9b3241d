"""The images to choose from and those that are labeled, each with a name and a key that tells its content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.errors import UserError
from detr_hf.images import ImageSource
from detr_hf.inputs import find_sources

if TYPE_CHECKING:
    from detr_hf.recipe import Data


@dataclass(frozen=True)
class PoolImage:
    """One image.

    Attributes:
        name: what it is called: its path below the folder that was given, "/"-separated, or its file name.
        source: the file, or what a data set stores of it.
        key: another one for another content; of a file its path, size and time of change.
    """

    name: str
    source: ImageSource
    key: str

    @property
    def place(self) -> str:
        """What messages call it: the path of a file."""
        return str(self.source) if isinstance(self.source, Path) else self.name


def find_pool(words: Sequence[str]) -> tuple[list[PoolImage], list[str]]:
    """The images that words of a command line mean, each file once; of a folder also those in its subfolders.

    Returns:
        the images, and a note on every link that leads out of its folder and is not followed.

    Raises:
        UserError: a word means nothing that is there, a video or a camera, or there is no image.
    """
    found: dict[str, PoolImage] = {}
    notes: list[str] = []
    for word in words:
        if os.path.isdir(word):
            files = ImageFiles(Path(word))
            pairs = [(name, Path(word) / name) for name in files.names]
            notes += [
                f"{Path(word) / link}: a link out of the folder, not followed" for link in files.links_out
            ]
            if not pairs:
                raise UserError(f"{word}: there is no image in this folder or below it")
        else:
            sources = find_sources([word])
            if sources.videos:
                raise UserError(f"{word}: images are picked from images; take frames out of a video first")
            pairs = [(path.name, path) for path in sources.images]
        for name, path in pairs:
            found.setdefault(os.path.realpath(path), PoolImage(name, path, _key_of_file(path)))
    return list(found.values()), notes


def _key_of_file(path: Path) -> str:
    try:
        about = path.stat()
    except OSError:  # gone, or not to be looked at: whoever reads it says so
        return str(path.absolute())
    return f"{path.absolute()}|{about.st_size}|{about.st_mtime_ns}"


@dataclass(frozen=True)
class LabeledImages:
    """A labeled data set.

    Attributes:
        training, others: images of the training split, and of the others.
        counts: objects of each class in the training split.
    """

    training: list[PoolImage]
    others: list[PoolImage]
    counts: dict[str, int]


def labeled_images(data: Data) -> LabeledImages:
    """The images of a recipe's data, annotated as training would read them.

    Raises:
        UserError: the data cannot be read, or is read as a stream.
    """
    from detr_hf.data.build import labels_of, with_images
    from detr_hf.data.open_data import open_data
    from detr_hf.data.reading import read_source
    from detr_hf.data.sources.splits import TRAIN

    if data.streaming:
        raise UserError("data.streaming: a stream is not read a second time")
    opened = open_data(data)
    labels = labels_of(data.labels, opened.labels, opened.splits[TRAIN])
    images: dict[str, list[PoolImage]] = {}
    counts = dict.fromkeys(labels.names, 0)
    for role, source in opened.splits.items():
        split = with_images(source, read_source(source, labels)[0])
        images[role] = list(_rows(split))
        if role == TRAIN:
            for objects in split.select_columns("objects")["objects"]:
                for category in objects["category"]:
                    counts[labels.names[category]] += 1
    others = [image for role, split in images.items() if role != TRAIN for image in split]
    return LabeledImages(images[TRAIN], others, counts)


def _rows(split: Any) -> Iterator[PoolImage]:
    from detr_hf.loading.rows import undecoded

    for row in undecoded(split).select_columns(["image", "file_name"]):
        stored = row["image"]
        key = (
            _key_of_file(Path(stored["path"])) if stored["bytes"] is None else _key_of_bytes(stored["bytes"])
        )
        source = Path(stored["path"]) if stored["bytes"] is None else stored
        yield PoolImage(row["file_name"], source, key)


def _key_of_bytes(content: bytes) -> str:
    return sha256(content).hexdigest()
