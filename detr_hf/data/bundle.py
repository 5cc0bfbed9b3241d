"""The one shape that every data source is turned into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import datasets

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap


class Check(Protocol):
    """Makes a raw row of a stream one with :func:`dataset_features`; ``place`` numbers it in messages."""

    def __call__(self, raw: Mapping[str, Any], place: int) -> dict[str, Any]:
        """Raises UserError: the row cannot be used; the image is named."""
        ...


@dataclass(frozen=True)
class ImageStream:
    """A training split that is read while it is trained on.

    Attributes:
        rows: undecoded rows, in the columns of the source.
        check: what makes them ours.
        images: that count as an epoch.
        is_panoptic: whether checked rows carry a ``panoptic`` PNG.
    """

    rows: datasets.IterableDataset
    check: Check
    images: int
    is_panoptic: bool


@dataclass
class DataBundle:
    """A data set that is ready for loading, with its one label map.

    Attributes:
        dataset: splits "train" and "validation", both with :func:`dataset_features`; of a streamed set
            "validation" alone.
        labels: the classes that ``objects.category`` counts, things first.
        is_panoptic: whether the rows carry a ``panoptic`` PNG.
        notes: one sentence for everything that was mended, dropped or is worth knowing, each with its count.
        stream: the training split of a streamed set.
    """

    dataset: datasets.DatasetDict
    labels: LabelMap
    is_panoptic: bool
    notes: list[str] = field(default_factory=list)
    stream: ImageStream | None = None

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
