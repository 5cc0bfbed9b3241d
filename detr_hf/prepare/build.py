"""`build_bundle`: whatever a recipe names as its data becomes one checked data set with one label map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.labels import CONSTRUCTION, LabelMap, load_labels
from detr_hf.prepare.coco import CocoDetection, CocoPanoptic
from detr_hf.prepare.findings import Report, listed
from detr_hf.prepare.hf import SavedSplit, open_saved
from detr_hf.prepare.reading import cached_categories, read_source
from detr_hf.prepare.source import Source
from detr_hf.prepare.streams import StreamedSplit, look_at_the_first, open_streamed
from detr_hf.recipe import Data, Split
from detr_hf.run_folder import DATA_REPORT_FILE

HOLD_OUT_SEED = 0
"""Which pictures `validation_fraction` holds out is a property of the data, not of the run's seed."""


def build_bundle(data: Data, output_dir: str | Path) -> DataBundle:
    """Read, check and label the data of a recipe.

    Everything mended or dropped is counted in ``notes`` and listed in ``output_dir/data_report.json``. The
    sources are checked once and cached; see :func:`detr_hf.prepare.reading.read_source`.

    Args:
        data: with either ``train`` (and maybe ``validation``) or ``dataset`` given.
        output_dir: folder of the run; made when missing.

    Raises:
        UserError: the data has faults, is empty, or its classes do not fit the label map.
    """
    if data.streaming:
        return _streamed_bundle(data, output_dir)
    sources, beside, remarks = _sources(data)
    labels = _labels(data.labels, beside, sources["train"])
    splits: dict[str, datasets.Dataset] = {}
    reports: list[Report] = []
    for name, source in sources.items():
        truth, report = read_source(source, labels)
        splits[name] = _with_pictures(source, truth)
        reports.append(report)
    if "validation" not in splits and data.overfit is None:
        splits["train"], splits["validation"] = _hold_out(splits["train"], data.validation_fraction)
        remarks.append(_held_out_sentence(splits, data.validation_fraction))
    if data.overfit is not None:
        splits = _overfit(splits["train"], data.overfit)
        remarks.append(f"overfit: training and evaluation both use the first {data.overfit} training images")
    notes = remarks + [sentence for report in reports for sentence in report.sentences()]
    _write_report(Path(output_dir), notes, reports, splits)
    is_panoptic = "panoptic" in splits["train"].column_names
    return DataBundle(datasets.DatasetDict(splits), labels, is_panoptic, notes)


def _streamed_bundle(data: Data, output_dir: str | Path) -> DataBundle:
    """The validation split like any other; of the training split no more than the first images."""
    opened = open_streamed(data)
    given = load_labels(data.labels) if data.labels is not None else None
    names = opened.labels or (given if data.labels != CONSTRUCTION else None)
    role = f"data.dataset {data.dataset}, split"
    train = StreamedSplit(opened.train, f"{role} '{data.train_split}'", opened.roots, names)
    validation = SavedSplit(opened.validation, f"{role} '{data.validation_split}'", opened.roots, names)
    _require_one_kind({"train": train, "validation": validation})
    labels = given or opened.labels or LabelMap.from_coco(train.categories())
    images = data.epoch_images or opened.train_images
    if images is None:
        raise UserError(
            f"data.epoch_images: {data.dataset} does not tell how many training images it has; write how "
            "many make an epoch"
        )
    stream = train.checked(labels, images)
    first = look_at_the_first(stream, train.name, may_be_bad=data.on_bad_sample == "skip")
    truth, report = read_source(validation, labels)
    splits = {"validation": _with_pictures(validation, truth)}
    notes = [sentence for found in (first, report) for sentence in found.sentences()]
    _write_report(Path(output_dir), notes, [first, report], splits)
    return DataBundle(datasets.DatasetDict(splits), labels, stream.is_panoptic, notes, stream)


def _sources(data: Data) -> tuple[dict[str, Source], LabelMap | None, list[str]]:
    """The source of each split, the label map saved beside them, and remarks."""
    if data.dataset is not None:
        return _saved_sources(data)
    assert data.train is not None, "the recipe makes sure that there is a source"
    given = {"train": data.train}
    if data.validation is not None and data.overfit is None:
        given["validation"] = data.validation
    sources = {name: coco_source(split, f"data.{name}") for name, split in given.items()}
    _require_one_kind(sources)
    return sources, None, []


def coco_source(split: Split, name: str) -> Source:
    """The reader for a COCO split: panoptic where it has a PNG folder. ``name`` is its recipe key."""
    assert split.annotations is not None and split.images is not None
    if split.panoptic is None:
        return CocoDetection(split.annotations, split.images, name)
    return CocoPanoptic(split.annotations, split.images, split.panoptic, name)


def _require_one_kind(sources: Mapping[str, Source | StreamedSplit]) -> None:
    kinds = {name: source.is_panoptic for name, source in sources.items()}
    if len(set(kinds.values())) > 1:
        with_masks = [name for name, is_panoptic in kinds.items() if is_panoptic]
        raise UserError(
            f"data: only {listed(with_masks)} has panoptic PNG files; both splits need them, or neither"
        )


def _saved_sources(data: Data) -> tuple[dict[str, Source], LabelMap | None, list[str]]:
    assert data.dataset is not None
    saved = open_saved(data.dataset, data.revision)
    known = list(saved.splits)
    if data.train_split not in known:
        raise UserError(
            f"data.train_split: {data.dataset} has no split '{data.train_split}'; it has {listed(known)}"
        )
    wanted = {"train": data.train_split}
    remarks = []
    if data.overfit is None and data.validation_split in known:
        wanted["validation"] = data.validation_split
    elif data.overfit is None:
        remarks.append(f"{data.dataset} has no split '{data.validation_split}' (it has {listed(known)})")
    names = saved.labels or (load_labels(data.labels) if data.labels not in (None, CONSTRUCTION) else None)
    sources: dict[str, Source] = {
        role: SavedSplit(
            saved.splits[split], f"data.dataset {data.dataset}, split '{split}'", saved.roots, names
        )
        for role, split in wanted.items()
    }
    _require_one_kind(sources)
    return sources, saved.labels, remarks


def _labels(wanted: str | None, beside: LabelMap | None, train: Source) -> LabelMap:
    if wanted is not None:
        return load_labels(wanted)
    return beside or LabelMap.from_coco(cached_categories(train))


def _with_pictures(source: Source, truth: datasets.Dataset) -> datasets.Dataset:
    if not isinstance(source, SavedSplit):
        return truth
    return datasets.concatenate_datasets([source.pictures(), truth], axis=1)


def _hold_out(train: datasets.Dataset, fraction: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """A seeded share of the pictures for validation, at least one, both parts in their old order."""
    count = len(train)
    held_out = max(1, round(count * fraction))
    if held_out >= count:
        raise UserError(
            f"data: {count} image(s) cannot be split into training and validation; "
            "give a validation split, or overfit: N to train and evaluate on the same images"
        )
    order = np.random.default_rng(HOLD_OUT_SEED).permutation(count)
    return train.select(np.sort(order[held_out:])), train.select(np.sort(order[:held_out]))


def _held_out_sentence(splits: dict[str, datasets.Dataset], fraction: float) -> str:
    held_out, kept = len(splits["validation"]), len(splits["train"])
    share = f"{held_out} of {held_out + kept} images ({fraction:g})"
    return f"{share} are held out for validation, always the same ones"


def _overfit(train: datasets.Dataset, count: int) -> dict[str, datasets.Dataset]:
    if count > len(train):
        raise UserError(f"data.overfit: {count} images are asked for, the training split has {len(train)}")
    first = train.select(range(count))
    return {"train": first, "validation": first}


def _write_report(
    folder: Path, notes: list[str], reports: list[Report], splits: dict[str, datasets.Dataset]
) -> None:
    content: dict[str, Any] = {
        "splits": {name: len(split) for name, split in splits.items()},
        "notes": notes,
        "sources": {
            report.source: {"totals": report.totals, "counts": report.counts, "details": report.details}
            for report in reports
        },
    }
    write_json(folder / DATA_REPORT_FILE, content)
