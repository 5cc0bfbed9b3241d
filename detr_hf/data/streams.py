"""Data sets that are read as they are trained on: the training split stays where it is, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets

from detr_hf.data.boxes import judge_format
from detr_hf.data.bundle import DataBundle, ImageStream, content_key, truth_features
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64
from detr_hf.data.reading import count_row, read_source
from detr_hf.data.repair import Repair
from detr_hf.data.report import Report
from detr_hf.data.rows import RowMaker
from detr_hf.data.sample import Sample
from detr_hf.data.sources import hub, parquet
from detr_hf.data.sources.base import Place
from detr_hf.data.sources.columns import columns_of
from detr_hf.data.sources.row_reader import RowReader
from detr_hf.data.sources.table import (
    TableSource,
    image_ids,
    labels_in_folder,
    names_by_number,
    undecoded,
)
from detr_hf.errors import UserError
from detr_hf.hub_access import offline_unless_reached
from detr_hf.labels import CONSTRUCTION, LabelMap, load_labels
from detr_hf.recipe import Data

LOOKED_AT = 64
"""So many images are checked before the start: what is wrong with all of them shows in the first."""


def streamed_bundle(data: Data) -> tuple[DataBundle, list[Report]]:
    """The data of a recipe with ``streaming``: of the training split no more than the first images are read,
    the validation split is a table like any other. The reports are of these.

    Raises:
        UserError: there is no such data set, it has not both splits, its classes are not known before it is
            read, or what is read has errors.
    """
    opened = open_streamed(data)
    given = load_labels(data.labels) if data.labels is not None else None
    names = opened.labels or (given if data.labels != CONSTRUCTION else None)
    role = f"data.dataset {data.dataset}, split"
    name = f"{role} '{data.train_split}'"
    reader, classes = _reader_of(opened, name, names)
    labels = given or opened.labels or LabelMap.from_coco(classes)
    validation = TableSource(opened.validation, f"{role} '{data.validation_split}'", opened.roots, names)
    is_panoptic = reader.columns.panoptic is not None
    if is_panoptic != validation.is_panoptic:
        raise UserError(f"{role}s: only one of the two has panoptic id maps; both need them, or neither")
    images = data.epoch_images or opened.train_images
    if images is None:
        raise UserError(
            f"data.epoch_images: {data.dataset} does not state how many training images it has; write how "
            "many make an epoch"
        )
    rows = undecoded(opened.train, reader.columns)
    stream = ImageStream(
        rows,
        RowCheck(reader, RowMaker(Repair(decode=False, outlines=False), labels), name),
        images,
        is_panoptic,
    )
    first, key = look_at_the_first(stream, labels, may_be_bad=data.on_bad_sample == "skip")
    truth, report = read_source(validation, labels)
    table = datasets.concatenate_datasets([validation.images_table(), truth], axis=1)
    notes = [sentence for found in (first, report) for sentence in found.sentences()]
    splits = datasets.DatasetDict({"validation": table})
    return DataBundle(splits, labels, is_panoptic, notes, stream, key), [first, report]


@dataclass(frozen=True)
class StreamedData:
    """A data set opened without reading it; the validation split is small, and read whole like any other."""

    train: datasets.IterableDataset
    validation: datasets.Dataset
    labels: LabelMap | None
    roots: tuple[Path, ...]
    train_images: int | None  # where the data set tells it


def open_streamed(data: Data) -> StreamedData:
    """Open ``data.dataset`` as a stream: Parquet files or a data set of the Hub.

    Raises:
        UserError: there is no such data set, it has not both splits, or its columns are not declared.
    """
    assert data.dataset is not None, "the recipe makes sure that there is one"
    place = Place(Path(data.dataset), f"data.dataset {data.dataset}", revision=data.revision)
    is_here = place.path.exists()
    if is_here and data.revision is not None:
        raise UserError(f"data.revision: {data.dataset} is a folder, which has no revisions; leave it out")
    try:
        builder = _builder_of(place)
        streams = builder.as_streaming_dataset()
    except Exception as error:  # network, access, format: the message of the library says which
        raise UserError(f"data.dataset: '{data.dataset}' cannot be streamed ({error})") from error
    for setting, split in (("train_split", data.train_split), ("validation_split", data.validation_split)):
        if split not in streams:
            raise UserError(
                f"data.{setting}: {data.dataset} has no split '{split}', it has {', '.join(streams)}; a "
                "stream is not divided, so both splits must be there"
            )
    if streams[data.train_split].features is None:
        raise UserError(
            f"data.dataset: {data.dataset} does not declare its columns; write it as Parquet with `datasets`"
        )
    folder = parquet.folder_of(place.path)
    return StreamedData(
        streams[data.train_split],
        _read_split(builder, data.validation_split, None if is_here else builder.info.features),
        labels_in_folder(folder) if is_here else hub.labels_on_hub(hub.id_of(place), data.revision),
        (folder.resolve(),) if is_here else hub.cache_roots(),
        _declared_images(builder, data.train_split),
    )


def _builder_of(place: Place) -> datasets.DatasetBuilder:
    if place.path.exists():
        splits = parquet.files_of_splits(place)[0]
        files = {split: parquet.as_patterns(found) for split, found in splits.items()}
        return datasets.load_dataset_builder("parquet", data_files=files)
    name = hub.id_of(place)
    offline_unless_reached()
    return datasets.load_dataset_builder(name, revision=place.revision)


def _read_split(
    builder: datasets.DatasetBuilder, split: str, features: datasets.Features | None
) -> datasets.Dataset:
    """One split as a table, without fetching the others; without ``features`` its files say what they are."""
    files = {split: [_as_pattern(file) for file in builder.config.data_files[split]]}
    try:
        return datasets.load_dataset(builder.name, data_files=files, split=split, features=features)
    except Exception as error:  # as above
        raise UserError(f"data.dataset: split '{split}' cannot be read ({error})") from error


def _as_pattern(file: str) -> str:
    return parquet.as_patterns([Path(file)])[0] if Path(file).is_file() else file


def _declared_images(builder: datasets.DatasetBuilder, split: str) -> int | None:
    """The images of a split as the data set declares it, or as its files say where these are on the disk."""
    import pyarrow.parquet as pq

    declared = (builder.info.splits or {}).get(split)
    if declared is not None and declared.num_examples:
        return int(declared.num_examples)
    files = list(builder.config.data_files[split])
    if builder.name == "parquet" and all(Path(file).is_file() for file in files):
        return sum(pq.read_metadata(file).num_rows for file in files)
    return None


def _reader_of(
    opened: StreamedData, name: str, labels: LabelMap | None
) -> tuple[RowReader, list[dict[str, Any]]]:
    """The reader of the stream's rows, and its classes as in COCO.

    Raises:
        UserError: its columns are not those of detection or panoptic data, or classes are known from the rows
            alone and no label map tells them.
    """
    columns = columns_of(opened.train.features, name)
    names = names_by_number(columns, labels)
    if columns.class_names is not None:
        return RowReader(columns, names, opened.roots), [
            {"id": at, "name": class_name} for at, class_name in names.items()
        ]
    if labels is None:
        raise UserError(
            f"{name}: the classes of a stream must be known before it is read; declare them as ClassLabel, "
            "or give data.labels: the path of a label_map.json"
        )
    return RowReader(columns, names, opened.roots), labels.to_coco_categories()


@dataclass(frozen=True)
class RowCheck:
    """What is checked and repaired in a table before a run, done to one row of a stream. Picklable."""

    reader: RowReader  # of the rows
    make_row: RowMaker  # what every sample goes through
    name: str  # of the stream, for messages

    def __call__(self, raw: Mapping[str, Any], place: int) -> dict[str, Any]:
        """A raw row as one of a `DataBundle`.

        Raises:
            UserError: it cannot be used; the image is named, and the object and class that it is about.
        """
        sample = self.sample(raw, place)
        row, issues = self.make_row(sample)
        if row is None:
            wrong = [f"{issue.kind.title} ({issue.text})" for issue in issues if issue.is_error]
            raise UserError(f"{self.name}, {sample.name}: {'; '.join(wrong)}")
        return row

    def sample(self, raw: Mapping[str, Any], place: int) -> Sample:
        """A raw row as a sample; without an id it is numbered by its place."""
        column = self.reader.columns.image_id
        known = raw[column] if column else None
        return self.reader.sample(raw, known if is_int64(known) else place, place)


def look_at_the_first(stream: ImageStream, labels: LabelMap, may_be_bad: bool) -> tuple[Report, str]:
    """Check the first images of a stream, as a table is checked whole.

    Args:
        stream: the training split.
        labels: the classes of its rows.
        may_be_bad: list what cannot be used rather than raise.

    Returns:
        What was found, and the ``content_key`` of these images.

    Raises:
        UserError: an image cannot be used, or the boxes only make sense in another format.
    """
    check = stream.check
    assert isinstance(check, RowCheck)
    report = Report(f"{check.name}, of the first {LOOKED_AT} images")
    rows = list(islice(stream.rows, LOOKED_AT))
    column = check.reader.columns.image_id
    wrong = image_ids([raw[column] for raw in rows])[1] if column else {}
    samples = [check.sample(raw, place) for place, raw in enumerate(rows)]
    box_format = judge_format([] if stream.is_panoptic else samples)
    report.add([box_format.issue] if box_format.issue else [])
    report.raise_errors()
    features, kept = truth_features(labels.names), []
    for place, sample in enumerate(samples):
        found = [Issue(*wrong[place], sample.file_name)] if place in wrong else []
        row, issues = check.make_row(replace(sample, issues=(*sample.issues, *found)))
        report.add(issues)
        if row is not None:
            count_row(row, report)
            kept.append({column: row[column] for column in features})
    if not may_be_bad:
        report.raise_errors()
    if not report.totals["images"]:
        raise UserError(f"{check.name}: none of its first images can be used, or there is none")
    return report, content_key(datasets.Dataset.from_list(kept, features=features))
