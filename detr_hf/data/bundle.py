"""The one shape that every data source is turned into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap

Check = Callable[[Mapping[str, Any], int], dict[str, Any]]
"""Makes a raw row of a stream one with :func:`dataset_features`; its place numbers it in messages.

It raises ``UserError`` with the image's name where the row cannot be used.
"""


@dataclass(frozen=True)
class ImageStream:
    """A training split that is read while it is trained on."""

    rows: datasets.IterableDataset  # undecoded rows, in the columns of the source
    check: Check  # what makes them ours
    images: int  # that count as an epoch
    is_panoptic: bool  # whether checked rows carry a ``panoptic`` PNG


@dataclass
class DataBundle:
    """A data set that is ready for loading, with its one label map."""

    # splits "train" and "validation", both with :func:`dataset_features`; of a streamed set "validation"
    # alone
    dataset: datasets.DatasetDict
    labels: LabelMap  # the classes that ``objects.category`` counts, things first
    is_panoptic: bool  # whether the rows carry a ``panoptic`` PNG
    # one sentence for everything that was mended, dropped or is worth knowing, each with its count
    notes: list[str] = field(default_factory=list)
    stream: ImageStream | None = None  # the training split of a streamed set
    training_key: str = ""  # :func:`content_key` of the training split, of a stream of its first images

    def save(self, folder: str | Path) -> None:
        """Write a self-contained copy (images embedded) that ``data.dataset`` reads back, with its label
        map.

        Raises:
            UserError: the training split is a stream.
        """
        if self.stream is not None:
            raise UserError("data.streaming: a streamed data set cannot be saved whole; read it without")
        self.dataset.save_to_disk(folder)
        self.labels.save(folder)


def object_features(names: Sequence[str]) -> dict[str, datasets.features.features.FeatureType]:
    """``objects`` as a dict of lists, one entry per object; ``bbox`` is x, y, width, height in pixels."""
    return {
        "id": datasets.List(datasets.Value("int64")),
        "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
        "category": datasets.List(datasets.ClassLabel(names=list(names))),
        "area": datasets.List(datasets.Value("float32")),
        "iscrowd": datasets.List(datasets.Value("bool")),
    }


def truth_features(names: Sequence[str]) -> datasets.Features:
    """Every column but the images. ``width`` and ``height`` are true pixels, after any EXIF rotation."""
    return datasets.Features(
        {
            "image_id": datasets.Value("int64"),
            "file_name": datasets.Value("string"),
            "width": datasets.Value("int32"),
            "height": datasets.Value("int32"),
            "objects": object_features(names),
        }
    )


def dataset_features(names: Sequence[str], is_panoptic: bool) -> datasets.Features:
    """The declared features of both splits; declared so that leading rows without objects cannot mislead."""
    pictures = {"image": datasets.Image()} | ({"panoptic": datasets.Image()} if is_panoptic else {})
    return datasets.Features(pictures | dict(truth_features(names)))


def content_key(split: datasets.Dataset) -> str:
    """A hash of the names, sizes and objects of a split's images, the same wherever and whenever the files
    were written; pixels do not count.
    """
    digest = sha256()
    table = split.select_columns(sorted(truth_features([]))).with_format("arrow")
    for batch in table.iter(batch_size=1000):
        for column in batch.columns:
            _add_values(digest, column.combine_chunks())
    return digest.hexdigest()[:16]


def _add_values(digest: Any, array: Any) -> None:
    """Values alone: how Arrow lays them out differs between a table, a selection of it and a copy."""
    if pa.types.is_struct(array.type):
        for part in array.flatten():
            _add_values(digest, part)
    elif pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        digest.update(pc.list_value_length(array).to_numpy(zero_copy_only=False).astype("<i4").tobytes())
        _add_values(digest, pc.list_flatten(array))
    elif pa.types.is_string(array.type):
        digest.update(repr(array.to_pylist()).encode())
    else:
        digest.update(array.to_numpy(zero_copy_only=False).tobytes())
