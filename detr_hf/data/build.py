"""`build_bundle`: whatever a recipe names as its data becomes one checked data set with one label map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from detr_hf.data.bundle import DataBundle, content_key
from detr_hf.data.fold import hold_out_fold
from detr_hf.data.issues import Issue
from detr_hf.data.leaks import leaks
from detr_hf.data.open_data import open_data
from detr_hf.data.reading import cached, cached_categories, read_source
from detr_hf.data.records import issues_from_lists, issues_to_lists
from detr_hf.data.report import Report
from detr_hf.data.sources.base import Source
from detr_hf.data.sources.splits import TRAIN, VALIDATION
from detr_hf.errors import UserError, quantity
from detr_hf.files import write_json
from detr_hf.labels import LabelMap, load_labels
from detr_hf.recipe import Data
from detr_hf.run_folder import DATA_REPORT_FILE

HOLD_OUT_SEED = 0
"""Which images `validation_fraction` holds out is a property of the data, not of the run's seed."""


def build_bundle(data: Data, output_dir: str | Path) -> DataBundle:
    """Read, check and label the data of a recipe.

    Everything repaired or dropped is counted in ``notes`` and listed in ``output_dir/data_report.json``. The
    sources are checked once and cached; see :func:`detr_hf.data.reading.read_source`.

    Args:
        data: with one of ``train``, ``source`` and ``dataset`` given.
        output_dir: folder of the run; made when missing.

    Raises:
        UserError: the data has errors, is empty, holds nothing to learn, or does not fit the label map.
    """
    if data.streaming:
        from detr_hf.data.streams import streamed_bundle

        made, looked_at = streamed_bundle(data)
        _write_report(Path(output_dir), made.notes, looked_at, made.dataset)
        return made
    opened = open_data(data)
    remarks = opened.remarks
    labels = labels_of(data.labels, opened.labels, opened.splits[TRAIN])
    splits: dict[str, datasets.Dataset] = {}
    reports: list[Report] = []
    for role, source in opened.splits.items():
        truth, report = read_source(source, labels)
        splits[role] = with_images(source, truth)
        reports.append(report)
    if not data.stuff:
        splits = {role: without_stuff(split, labels) for role, split in splits.items()}
        remarks.append(f"data.stuff: {quantity(len(labels.stuff_ids), 'class')} of stuff left out")
    require_something_to_learn(reports[0])
    if VALIDATION in splits:
        require_no_leaks(opened.splits, splits)
    elif data.fold is not None:
        splits[TRAIN], splits[VALIDATION] = hold_out_fold(splits[TRAIN], data.fold)
        part = f"part {data.fold.held_out} of 0 to {data.fold.of - 1}"
        remarks.append(f"data.fold: {part} is held out, {quantity(len(splits[VALIDATION]), 'image')}")
    elif data.overfit is None:
        splits[TRAIN], splits[VALIDATION] = _hold_out(splits[TRAIN], data.validation_fraction)
        remarks.append(_held_out_sentence(splits, data.validation_fraction))
    if data.overfit is not None:
        splits = _overfit(splits[TRAIN], data.overfit)
        remarks.append(
            f"overfit: training and evaluation both use the first {quantity(data.overfit, 'training image')}"
        )
    notes = remarks + [sentence for report in reports for sentence in report.sentences()]
    _write_report(Path(output_dir), notes, reports, splits)
    is_panoptic = "panoptic" in splits[TRAIN].column_names
    key = content_key(splits[TRAIN])
    return DataBundle(datasets.DatasetDict(splits), labels, is_panoptic, notes, training_key=key)


def labels_of(wanted: str | None, beside: LabelMap | None, train: Source) -> LabelMap:
    """The label map that a recipe names, that lies beside the data, or of the training split's classes."""
    if wanted is not None:
        return load_labels(wanted)
    if beside is not None:
        return beside
    categories = cached_categories(train)
    if not categories:
        raise UserError(f"{train.name}: there is no class, so there is nothing to learn")
    return LabelMap.from_coco(categories)


def with_images(source: Source, truth: datasets.Dataset) -> datasets.Dataset:
    """Rows with their images, which stay where they are in a saved data set."""
    if not source.images_apart:
        return truth
    return datasets.concatenate_datasets([source.images_table(), truth], axis=1)


def without_stuff(split: datasets.Dataset, labels: LabelMap) -> datasets.Dataset:
    """The same rows with their things alone; id maps keep their pixels, which are void without an object.

    Raises:
        UserError: there is no thing.
    """

    def things_of(objects: dict[str, list[Any]]) -> dict[str, Any]:
        kept = ~np.isin(objects["category"], labels.stuff_ids)
        return {"objects": {key: [*itertools.compress(column, kept)] for key, column in objects.items()}}

    # the objects alone: a map over whole rows would copy images
    objects = split.select_columns("objects")
    objects = objects.map(things_of, input_columns="objects", features=objects.features)
    if not any(found["category"] for found in objects["objects"]):
        raise UserError("data.stuff: false leaves no object: a split has no things.")
    return datasets.concatenate_datasets([split.remove_columns("objects"), objects], axis=1)


def require_something_to_learn(report: Report) -> None:
    """Raises UserError: a training split, read, has no object but crowds."""
    totals = report.totals
    if totals["objects"] > totals["crowd_objects"]:
        return
    held = (
        f"{quantity(totals['objects'], 'object')}, and no other than crowds, which are not trained on"
        if totals["objects"]
        else "no image has an object that can be used"
    )
    report.add([Issue("nothing-to-learn", held)])
    raise UserError("\n  ".join(report.sentences()))


def require_no_leaks(sources: Mapping[str, Source], splits: Mapping[str, datasets.Dataset]) -> None:
    """Raises UserError: images are in training and in validation, and not because both are the same split."""
    keys = [sources[role].key for role in (TRAIN, VALIDATION)]
    if keys[0] == keys[1]:
        return
    found = cached("leaks", keys, lambda: issues_to_lists(leaks(splits[TRAIN], splits[VALIDATION])))
    report = Report("data")
    report.add(issues_from_lists(found), VALIDATION)
    report.raise_errors()


def _hold_out(train: datasets.Dataset, fraction: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """A seeded share of the images for validation, at least one, both parts in their old order."""
    count = len(train)
    held_out = max(1, round(count * fraction))
    if held_out >= count:
        raise UserError(
            f"data: {quantity(count, 'image')} cannot be split into training and validation; "
            "give a validation split, or overfit: N to train and evaluate on the same images"
        )
    order = np.random.default_rng(HOLD_OUT_SEED).permutation(count)
    return train.select(np.sort(order[held_out:])), train.select(np.sort(order[:held_out]))


def _held_out_sentence(splits: dict[str, datasets.Dataset], fraction: float) -> str:
    held_out, kept = len(splits[VALIDATION]), len(splits[TRAIN])
    share = f"{held_out} of {quantity(held_out + kept, 'image')} ({fraction:g})"
    return f"held out for validation, always the same: {share}"


def _overfit(train: datasets.Dataset, count: int) -> dict[str, datasets.Dataset]:
    if count > len(train):
        raise UserError(f"data.overfit: {count} images are asked for, the training split has {len(train)}")
    first = train.select(range(count))
    return {TRAIN: first, VALIDATION: first}


def _write_report(
    folder: Path, notes: list[str], reports: list[Report], splits: Mapping[str, datasets.Dataset]
) -> None:
    content: dict[str, Any] = {
        "splits": {name: len(split) for name, split in splits.items()},
        "notes": notes,
        "sources": {report.source: report.as_dict() for report in reports},
    }
    write_json(folder / DATA_REPORT_FILE, content)
