"""Data sets that are read as they are trained on: the training split stays where it is, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from detr_hf.data.bundle import ImageStream
from detr_hf.errors import UserError
from detr_hf.hub_access import offline_unless_reached
from detr_hf.labels import LabelMap
from detr_hf.prepare.columns import Columns, first_of
from detr_hf.prepare.findings import Report, listed
from detr_hf.prepare.hf import cache_roots, labels_in_folder, labels_on_hub
from detr_hf.prepare.reading import count_row, require_likely_boxes
from detr_hf.prepare.rows import RowMaker
from detr_hf.prepare.saved_rows import SavedRows
from detr_hf.recipe import Data

LOOKED_AT = 64
"""So many images are checked before the start: what is wrong with all of them shows in the first."""


@dataclass(frozen=True)
class StreamedData:
    """A data set opened without reading it; the validation split is small, and read whole like any other."""

    train: datasets.IterableDataset
    validation: datasets.Dataset
    labels: LabelMap | None
    roots: tuple[Path, ...]
    train_images: int | None  # where the data set tells it


def open_streamed(data: Data) -> StreamedData:
    """Open ``data.dataset`` as a stream: a folder of Parquet files or a data set of the Hub.

    Raises:
        UserError: there is no such data set, it has not both splits, or its columns are not declared.
    """
    assert data.dataset is not None, "the recipe makes sure that there is one"
    folder = Path(data.dataset) if Path(data.dataset).is_dir() else None
    if folder is not None and data.revision is not None:
        raise UserError(f"data.revision: {folder} is a folder, which has no revisions; leave it out")
    if folder is None:
        offline_unless_reached()
    try:
        builder = datasets.load_dataset_builder(data.dataset, revision=data.revision)
        streams = builder.as_streaming_dataset()
    except Exception as failure:  # network, access, format: the message of the library says which
        raise UserError(f"data.dataset: '{data.dataset}' cannot be streamed ({failure})") from failure
    for setting, split in (("train_split", data.train_split), ("validation_split", data.validation_split)):
        if split not in streams:
            raise UserError(
                f"data.{setting}: {data.dataset} has no split '{split}', it has {listed(streams)}; a stream "
                "is not divided, so both splits must be there"
            )
    if streams[data.train_split].features is None:
        raise UserError(
            f"data.dataset: {data.dataset} does not declare its columns; write it as Parquet with `datasets`"
        )
    return StreamedData(
        streams[data.train_split],
        _read_split(builder, data.validation_split),
        labels_on_hub(data.dataset, data.revision) if folder is None else labels_in_folder(folder),
        cache_roots() if folder is None else (folder.resolve(),),
        _declared_images(builder, data.train_split),
    )


def _read_split(builder: datasets.DatasetBuilder, split: str) -> datasets.Dataset:
    """One split as a table, without fetching the others."""
    files = {split: list(builder.config.data_files[split])}
    try:
        return datasets.load_dataset(
            builder.name, data_files=files, split=split, features=builder.info.features
        )
    except Exception as failure:  # as above
        raise UserError(f"data.dataset: split '{split}' cannot be read ({failure})") from failure


def _declared_images(builder: datasets.DatasetBuilder, split: str) -> int | None:
    """The images of a split as the data set declares it, or as its files say where these are on the disk."""
    declared = (builder.info.splits or {}).get(split)
    if declared is not None and declared.num_examples:
        return int(declared.num_examples)
    files = list(builder.config.data_files[split])
    if builder.name == "parquet" and all(Path(file).is_file() for file in files):
        return sum(pq.read_metadata(file).num_rows for file in files)
    return None


class StreamedSplit:
    """The training split as a stream.

    Args:
        stream: its rows.
        name: for messages.
        roots, labels: see :class:`detr_hf.prepare.hf.SavedSplit`.

    Raises:
        UserError: its columns are not those of a detection or panoptic set.
    """

    def __init__(
        self, stream: datasets.IterableDataset, name: str, roots: tuple[Path, ...], labels: LabelMap | None
    ) -> None:
        self.name = name
        self.columns = columns = Columns.of(stream.features, name)
        self.is_panoptic = columns.panoptic is not None
        self._labels = labels
        numbers = {category["name"]: category["id"] for category in self.categories()}
        self._rows = SavedRows(columns, name, roots, numbers)
        plain = [column for column, kind in stream.features.items() if isinstance(kind, datasets.Value)]
        self._id_column = first_of(("image_id", "id"), plain)
        self._stream = _undecoded(stream, columns)

    def categories(self) -> list[dict[str, Any]]:
        """The classes as names and numbers.

        Raises:
            UserError: they are known from the rows alone, and no label map tells them.
        """
        kind = self.columns.category
        if isinstance(kind, datasets.ClassLabel):
            return [{"id": at, "name": name} for at, name in enumerate(kind.names)]
        if self._labels is None:
            raise UserError(
                f"{self.name}: the classes of a stream must be known before it is read; declare them as "
                "ClassLabel, or give data.labels: the path of a label_map.json"
            )
        known = self._labels.to_coco_categories()
        void = self._labels.void if self.columns.tells_names else ()
        return known + [{"id": -number, "name": name} for number, name in enumerate(void, start=1)]

    def checked(self, labels: LabelMap, images: int) -> ImageStream:
        """The stream, with the check that makes its rows those of a `DataBundle`."""
        classes: dict[int, int | None] = {}
        for category in self.categories():
            if category["name"] in labels.label2id:
                classes[category["id"]] = labels.label2id[category["name"]]
            elif category["name"] in labels.void:
                classes[category["id"]] = None
        names = {category["id"]: category["name"] for category in self.categories()}
        check = RowCheck(self._rows, RowMaker(classes, with_pictures=False), names, self._id_column)
        return ImageStream(self._stream, check, images, self.is_panoptic)


def _undecoded(stream: datasets.IterableDataset, columns: Columns) -> datasets.IterableDataset:
    """The columns that are used, images as bytes: decoding is for the loading processes."""
    objects = [columns.objects] if columns.objects else list(columns.fields.values())
    pictures = [columns.image] + ([columns.panoptic] if columns.panoptic else [])
    known = ("image_id", "id", "file_name", "filename", "width", "height")
    stream = stream.select_columns(
        [name for name in stream.features if name in {*pictures, *objects, *known}]
    )
    for column in pictures:
        stream = stream.cast_column(column, datasets.Image(decode=False))
    return stream


@dataclass(frozen=True)
class RowCheck:
    """What is checked and mended in a table of images before a run, done to one row of a stream."""

    rows: SavedRows
    make_row: RowMaker
    names: Mapping[int, str]  # of the source's categories
    id_column: str | None

    def __call__(self, raw: Mapping[str, Any], place: int, report: Report | None = None) -> dict[str, Any]:
        """A raw row as one of a `DataBundle`; what was mended goes to ``report``.

        Raises:
            UserError: it cannot be used; the image is named, and the object and class that it is about.
        """
        known = raw[self.id_column] if self.id_column else None
        try:
            source = self.rows.image(raw, known if isinstance(known, int) else place, place)
        except UserError as fault:
            raise UserError(f"{self.rows.name}, row {known or place}: {fault}") from None
        for found in source.objects:
            if found.category not in self.make_row.classes:
                what = self.names.get(found.category, found.category)
                raise UserError(
                    f"{source.name}, {found.where}: its class {what!r} is not in the label map; rename it, "
                    "or give a label map that has it (data.labels)"
                )
        row, findings = self.make_row(source)
        if row is None:
            raise UserError("; ".join(fault.text for fault in findings.faults))
        if report is not None:
            report.add(findings)
        return row | {"image": source.image, "panoptic": source.panoptic}


def look_at_the_first(stream: ImageStream, name: str, may_be_bad: bool) -> Report:
    """Check the first images of a stream, as a table is checked whole.

    Args:
        stream: the training split.
        name: for messages.
        may_be_bad: count what cannot be used rather than raise.

    Raises:
        UserError: an image cannot be used, or the boxes only make sense in another format.
    """
    report = Report(f"{name}, of the first {LOOKED_AT} images")
    assert isinstance(stream.check, RowCheck)
    for place, raw in enumerate(islice(stream.rows, LOOKED_AT)):
        try:
            count_row(stream.check(raw, place, report), report)
        except UserError as fault:
            if not may_be_bad:
                raise
            report.note("cannot be used", str(fault))
    if not report.totals:
        raise UserError(f"{name}: none of its first images can be used, or there is none")
    if not stream.is_panoptic:
        require_likely_boxes(report)
    return report
