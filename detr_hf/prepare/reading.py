"""From a source to a `datasets.Dataset`: every picture checked once, the outcome cached."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import datasets
from datasets.exceptions import DatasetGenerationError
from tqdm import tqdm

from detr_hf.data.bundle import dataset_features, truth_features
from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.labels import LabelMap
from detr_hf.prepare.findings import Report, listed
from detr_hf.prepare.rows import CLIPPED, OUTSIDE, RowMaker
from detr_hf.prepare.source import Source, hash_of_words

READER_VERSION = "1"
"""Raise this whenever the same files would give other rows: it is part of the cache key."""

UNUSED_CLASSES = "classes of the source have no counterpart in the label map and no object"
ENOUGH_TO_JUDGE = 20  # boxes from which on their format is judged
Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_AHEAD = 256  # pictures under way in the reading threads


def class_of_categories(source: Source, labels: LabelMap, report: Report) -> dict[int, int | None]:
    """The class id of each source category id, matched by NAME; None for a void class.

    Raises:
        UserError: objects have classes that are neither in the label map nor void; all are named.
    """
    used = source.used_categories()
    classes: dict[int, int | None] = {}
    unknown: list[str] = []
    for category in source.categories():
        name = category["name"]
        if name in labels.label2id:
            classes[category["id"]] = labels.label2id[name]
        elif name in labels.void:
            classes[category["id"]] = None
        elif category["id"] in used:
            unknown.append(name)
        else:
            classes[category["id"]] = None
            report.note(UNUSED_CLASSES, name)
    if unknown:
        raise UserError(
            f"{source.name}: {len(unknown)} classes with objects are not in the label map: "
            f"{listed(unknown)}. "
            f"The label map knows {listed(labels.names)}. Rename them, or give a label map that has them "
            "(data.labels)"
        )
    return classes


def read_source(source: Source, labels: LabelMap) -> tuple[datasets.Dataset, Report]:
    """Check every picture of a source and return its rows, from the cache where nothing has changed.

    The cache key holds the sha256 of the annotation file, the listing of the folders (names, sizes, times of
    change), the label map and :data:`READER_VERSION`. `datasets` alone would key on the paths and return old
    rows after an edit.

    Raises:
        UserError: the data has faults; up to twenty are listed.
    """
    signature = [f"{category.name} {category.is_thing}" for category in labels.categories]
    key = hash_of_words([READER_VERSION, source.key, *signature, "void", *labels.void])[:32]
    notes_file = _cache_folder() / "notes" / f"{key}.json"

    def rows() -> Iterator[dict[str, Any]]:
        report = Report(source.name)
        yield from checked_rows(source, class_of_categories(source, labels, report), report)
        write_json(notes_file, vars(report), shared=True)

    features = (
        truth_features(labels.names)
        if source.pictures_apart
        else dataset_features(labels.names, source.is_panoptic)
    )
    dataset = _generate(rows, features, key)
    if not notes_file.is_file():  # someone tidied the cache by half
        shutil.rmtree(Path(dataset.cache_files[0]["filename"]).parent)
        dataset = _generate(rows, features, key)
    notes = json.loads(notes_file.read_text(encoding="utf-8"))
    return dataset, Report(
        **notes | {"source": source.name}
    )  # the same files may have had another role before


def cached_categories(source: Source) -> list[dict[str, Any]]:
    """The source's categories, without parsing a large annotation file again in every process of every
    run.
    """
    file = _cache_folder() / "categories" / f"{hash_of_words([READER_VERSION, source.key])[:32]}.json"
    if not file.is_file():
        write_json(file, source.categories(), shared=True)
    return json.loads(file.read_text(encoding="utf-8"))


def _cache_folder() -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE) / "detr_hf"


def checked_rows(source: Source, classes: dict[int, int | None], report: Report) -> Iterator[dict[str, Any]]:
    """Every row of a source, uncached.

    Raises:
        UserError: after the last picture, with all faults; or at the twentieth.
    """
    make_row = RowMaker(classes, with_pictures=not source.pictures_apart)
    follower = os.environ.get("LOCAL_RANK", "0") != "0"
    with tqdm(
        total=len(source), desc=f"checking {source.name}", unit="image", leave=False, disable=follower
    ) as bar:
        for row, findings in in_threads(make_row, source.images(report)):
            bar.update()
            report.add(findings)
            if row is not None:
                count_row(row, report)
                yield row
    report.raise_faults()
    if not report.totals:
        raise UserError(f"{source.name} holds no image; the data set is empty")
    if not source.is_panoptic:
        require_likely_boxes(report)


def count_row(row: dict[str, Any], report: Report) -> None:
    crowd = row["objects"]["iscrowd"]
    """Add a row to the report's totals."""
    report.count("images")
    report.count("objects", len(crowd))
    report.count("crowd_objects", sum(crowd))
    report.count("boxes_within_one_pixel", sum(max(box[2:]) <= 1 for box in row["objects"]["bbox"]))
    most = report.totals.get("most_objects_in_one_image", 0)
    report.totals["most_objects_in_one_image"] = max(most, len(crowd))


def require_likely_boxes(report: Report) -> None:
    """Refuse boxes whose numbers only make sense in another format than x, y, width, height in pixels.

    Raises:
        UserError: no box is larger than a pixel, or most reach outside of their image.
    """
    objects = report.totals["objects"]
    dropped = report.counts.get(OUTSIDE, 0)
    outside = report.counts.get(CLIPPED, 0) + dropped
    if objects and report.totals["boxes_within_one_pixel"] == objects:
        raise UserError(
            f"{report.source}: no box is larger than one pixel; boxes are x, y, width, height in pixels, "
            "and these "
            "look like shares of the image. Multiply them by its width and height"
        )
    if objects + dropped >= ENOUGH_TO_JUDGE and outside > (objects + dropped) / 2:
        raise UserError(
            f"{report.source}: {outside} of {objects + dropped} boxes reach outside their image; boxes are "
            "x, y, width, "
            "height in pixels, and these look like corners (x0, y0, x1, y1). Convert them, or check the "
            "image sizes"
        )


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Results in order, from as many threads as there are cores: decoding releases the interpreter's lock."""
    if threads == 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        while ahead := list(islice(waiting, LOOK_AHEAD)):
            yield from pool.map(work, ahead)


def _generate(
    rows: Callable[[], Iterator[dict[str, Any]]], features: datasets.Features, key: str
) -> datasets.Dataset:
    try:
        with _quiet_datasets():
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
def _quiet_datasets() -> Iterator[None]:
    """Our own bar counts pictures towards a total; the one of `datasets` beside it would not."""
    was_on = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if was_on:
            datasets.enable_progress_bars()
