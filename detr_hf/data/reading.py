"""From a source to the table that training reads: every sample repaired once, the outcome cached."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from detr_hf.data.boxes import box_format_of
from detr_hf.data.bundle import dataset_features, truth_features
from detr_hf.data.repair import Repair
from detr_hf.data.report import Report
from detr_hf.data.rows import RowMaker
from detr_hf.data.sources.base import Source, hash_of_words
from detr_hf.data.workers import in_threads
from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.labels import LabelMap
from detr_hf.progress import progress

READER_VERSION = "2"
"""Raise this whenever the same files would give other rows: it is part of the cache key."""

ENOUGH_ERRORS = 20  # images with errors after which reading stops


def read_source(source: Source, labels: LabelMap) -> tuple[datasets.Dataset, Report]:
    """Repair every sample of a source and return its rows, from the cache where nothing has changed.

    The cache key holds the source's key, the label map and :data:`READER_VERSION`. `datasets` alone would key
    on the paths and return old rows after an edit.

    Raises:
        UserError: the data has errors; the first of each kind are listed.
    """
    signature = [f"{category.name} {category.is_thing}" for category in labels.categories]
    words = [READER_VERSION, source.key, str(source.has_set_issues), *signature, "void", *labels.void]
    key = hash_of_words(words)[:32]
    notes_file = _cache_folder() / "notes" / f"{key}.json"

    def rows() -> Iterator[dict[str, Any]]:
        report = Report(source.name)
        yield from checked_rows(source, labels, report)
        write_json(notes_file, report.as_dict(), shared=True)

    features = (
        truth_features(labels.names)
        if source.images_apart
        else dataset_features(labels.names, source.is_panoptic)
    )
    dataset = _generate(rows, features, key)
    if not notes_file.is_file():  # someone tidied the cache by half
        shutil.rmtree(Path(dataset.cache_files[0]["filename"]).parent)
        dataset = _generate(rows, features, key)
    notes = json.loads(notes_file.read_text(encoding="utf-8"))
    return dataset, Report.from_dict(source.name, notes)  # the same files may have had another role before


def cached_categories(source: Source) -> list[dict[str, Any]]:
    """The source's categories, without reading large annotations again in every process of every run."""
    return cached("categories", [source.key], source.categories)


def cached(kind: str, words: list[str], make: Callable[[], Any]) -> Any:
    """Plain JSON that is made once for a kind and the words that decide it."""
    file = _cache_folder() / kind / f"{hash_of_words([READER_VERSION, *words])[:32]}.json"
    if not file.is_file():
        write_json(file, make(), shared=True)
    return json.loads(file.read_text(encoding="utf-8"))


def _cache_folder() -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE) / "detr_hf"


def checked_rows(source: Source, labels: LabelMap, report: Report) -> Iterator[dict[str, Any]]:
    """Every row of a source, uncached.

    Raises:
        UserError: after the last sample, or after ``ENOUGH_ERRORS`` images with errors.
    """
    make_row = row_maker(source, labels, report)
    report.raise_errors()  # boxes in another format: known before an image is opened
    # Splits often share one folder of images: what this one does not list is no news in training.
    report.add(issue for issue in source.issues() if issue.code != "file-unlisted")
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    bad = 0
    made = in_threads(make_row, source.samples())
    for row, issues in progress(made, len(source), f"checking {source.name}", is_shown=is_first):
        report.add(issues)
        if row is not None:
            count_row(row, report)
            yield row
        elif any(issue.is_error for issue in issues):
            bad += 1
            if bad >= ENOUGH_ERRORS:
                break
    report.raise_errors()
    if not report.totals["images"]:
        raise UserError(f"{source.name} holds no image; the data set is empty")


def row_maker(source: Source, labels: LabelMap, report: Report) -> RowMaker:
    """What makes rows of a source's samples; the format of its boxes goes to the report."""
    box_format = box_format_of(source)
    report.add([box_format.issue] if box_format.issue else [])
    repair = Repair(box_format, decode=False, outlines=False)
    return RowMaker(repair, labels, with_images=not source.images_apart)


def count_row(row: dict[str, Any], report: Report) -> None:
    """Add a row to the report's totals."""
    crowd = row["objects"]["iscrowd"]
    totals = report.totals
    totals["images"] += 1
    totals["objects"] += len(crowd)
    totals["crowd_objects"] += sum(crowd)
    totals["most_objects_in_one_image"] = max(totals["most_objects_in_one_image"], len(crowd))


def _generate(
    rows: Callable[[], Iterator[dict[str, Any]]], features: datasets.Features, key: str
) -> datasets.Dataset:
    try:
        with quiet_datasets():
            return datasets.Dataset.from_generator(
                rows, features=features, cache_dir=str(_cache_folder()), fingerprint=key
            )
    except DatasetGenerationError as failure:
        cause: BaseException | None = failure
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Without the bars of `datasets`, which would be drawn beside ours, and in log files too."""
    was_on = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if was_on:
            datasets.enable_progress_bars()
