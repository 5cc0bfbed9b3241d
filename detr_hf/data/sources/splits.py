"""A data set of one or several splits, whose images are listed before their annotations are read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from detr_hf.data.archive import is_zip
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.labels import LabelMap

TRAIN, VALIDATION = "train", "validation"
SPELLINGS = {TRAIN: ("train", "training"), VALIDATION: ("validation", "valid", "val", "dev")}
"""Usual names of the two splits that a run needs."""

SPLITS = ("train", "val", "valid", "validation", "dev", "test", "training", "testing")
"""What folders and files of a split are called."""

_WORDS = {
    **{name: role for role, names in SPELLINGS.items() for name in names},
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}\..*")


def role_of(split: str) -> str | None:
    """The role of a split by its name, in any case; None where a run needs none of that name."""
    return next((role for role, names in SPELLINGS.items() if split.casefold() in names), None)


class DataSet(ABC):
    """What a door knows of a data set; `open_all` makes a `Source` of each split.

    Attributes:
        place: where it is.
        splits: the entries of each split, in the order of its samples.
        labels: see `Opened`.
        is_panoptic, xywh_px: see `Source`.
    """

    place: Place
    splits: Mapping[str, Sequence[Any]]
    labels: LabelMap | None = None
    is_panoptic = False
    xywh_px = True

    @abstractmethod
    def categories(self) -> list[dict[str, Any]]: ...

    def sample(self, entry: Any, number: int) -> Sample:
        """The sample of an entry; ``number`` is its place in its split, from 1; for ``samples`` alone."""
        raise NotImplementedError

    def samples(self, split: str) -> Iterator[Sample]:
        for number, entry in enumerate(self.splits[split], start=1):
            yield self.sample(entry, number)

    def issues(self) -> Iterable[Issue]:
        """Of the data set as a whole."""
        return ()

    def unlisted(self, image: str, why: str) -> Issue:
        """An image without annotations, which are dropped or kept as ``read.unlisted_images`` says."""
        keep = self.place.reading.unlisted_images == "keep"
        return Issue("unlisted-kept" if keep else "unlisted", why, image)


class _Split(Source):
    def __init__(self, format: str, data: DataSet, split: str) -> None:
        self._format, self._data, self._split = format, data, split
        self.is_panoptic, self.xywh_px = data.is_panoptic, data.xywh_px
        several = len(data.splits) > 1
        self.name = f"{data.place.name}, split '{split}'" if several else data.place.name

    @property
    def key(self) -> str:
        path, images = self._data.place.path, self._data.place.images
        words = [self._format, self._split, repr(self._data.place.reading)]
        words += [repr(one) for one in labels.categories] if (labels := self._data.place.labels) else []
        if path.is_file():
            status = path.stat()
            words += [path.name, str(status.st_size), str(status.st_mtime_ns)]
        folder = path if path.is_dir() else path.parent
        folders = [images] if is_zip(path) else [folder, images]
        return hash_of_words([*words, *(hash_of_folder(one) for one in folders if one is not None)])

    def categories(self) -> list[dict[str, Any]]:
        return self._data.categories()

    def issues(self) -> Iterable[Issue]:
        return self._data.issues() if self.has_set_issues else ()

    def samples(self) -> Iterator[Sample]:
        return self._data.samples(self._split)

    def __len__(self) -> int:
        return len(self._data.splits[self._split])


def open_all(format: str, data: DataSet) -> Opened:
    """A source for each split."""
    return Opened({split: _Split(format, data, split) for split in data.splits}, data.labels)


def numbered(names: Iterable[str]) -> list[dict[str, Any]]:
    """Categories, sorted by name."""
    return [{"id": id_, "name": name} for id_, name in enumerate(sorted(names), start=1)]


def split_folder(name: str) -> str:
    """The split that one of the folders of a path is called after: "train" where none is."""
    found = (part.lower() for part in name.split("/")[:-1] if part.lower() in SPLITS)
    return next(found, TRAIN).removesuffix("ing")


def split_of(name: str, with_file: bool = True) -> str | None:
    """The split that a path tells by its words, as `datasets` has it; None where they tell none.

    https://huggingface.co/docs/datasets/repository_structure

    Args:
        name: relative to the data set, "/"-separated.
        with_file: whether the file's own name counts, after its folders.
    """
    *folders, file = PurePosixPath(name).parts or ("",)
    for part in [*folders, file] if with_file else folders:
        for word in re.split(r"[-._ 0-9]+", part.lower()):
            if word in _WORDS:
                return _WORDS[word]
    shard = _SHARD.fullmatch(file) if with_file else None
    return shard[1] if shard else None
