"""Images that are in training and in validation: the score of a run would be too good."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path

import datasets
import pyarrow.compute as pc

from detr_hf.data.issues import Issue
from detr_hf.data.sources.splits import TRAIN
from detr_hf.files import sha256_of


def leaks(train: datasets.Dataset, validation: datasets.Dataset) -> Iterator[Issue]:
    """Images of the validation split that are the same file as one of training, byte for byte.

    Only files whose size occurs in both splits are read.
    """
    sizes, others = list(_sizes(train)), list(_sizes(validation))
    shared = set(sizes) & set(others)
    first: dict[str, str] = {}
    for name, digest in _digests(train, sizes, shared):
        first.setdefault(digest, name)
    for name, digest in _digests(validation, others, shared):
        if digest in first:
            yield Issue("leak", f"the same file as {first[digest]} of {TRAIN}", name)


def _sizes(split: datasets.Dataset) -> Iterator[int]:
    """Bytes of each image, without reading it."""
    for batch in split.select_columns(["image"]).with_format("arrow").iter(1000):
        cells = batch["image"]
        lengths = pc.binary_length(pc.struct_field(cells, "bytes")).to_pylist()
        for length, path in zip(lengths, pc.struct_field(cells, "path").to_pylist(), strict=True):
            yield os.stat(path).st_size if length is None else length


def _digests(split: datasets.Dataset, sizes: list[int], wanted: Collection[int]) -> Iterator[tuple[str, str]]:
    """Name and sha256 of the images of some sizes."""
    rows = split.select_columns(["file_name", "image"]).cast_column("image", datasets.Image(decode=False))
    for at, size in enumerate(sizes):
        if size in wanted:
            row = rows[at]
            content = row["image"]["bytes"]
            digest = sha256_of(Path(row["image"]["path"])) if content is None else sha256(content).hexdigest()
            yield row["file_name"], digest
