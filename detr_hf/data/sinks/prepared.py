"""Step `write`: the records, painted and split, as a data set that training reads.

``OUT/steps/write`` holds the painted images, which a killed run finds again, and the finished files until
all are there and read back; then they take their places in OUT. The same input gives the same bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from detr_hf.data.card import CARD_FILE, CardFacts, SplitSummary, card_text
from detr_hf.data.painted_files import PaintJob
from detr_hf.data.records import Record, issues_to_lists, read_records, to_line
from detr_hf.data.sample import Annotation
from detr_hf.data.sinks.coco import data_yaml, split_entry
from detr_hf.data.sinks.coco_files import CocoSplit
from detr_hf.data.sinks.coco_panoptic import PANOPTIC_FILE, PNG_FOLDER
from detr_hf.data.sinks.verify import DETECTION_FILE, verify_lists, verify_pixels
from detr_hf.data.split import TRAIN, VALIDATION, Splits
from detr_hf.data.workers import in_order, progress
from detr_hf.errors import UserError
from detr_hf.files import link_or_copy, sha256_of, write_bytes, write_text
from detr_hf.foreign_files import inside, read_bytes
from detr_hf.images import MAX_FILE_BYTES
from detr_hf.labels import CONSTRUCTION, LABEL_MAP_FILE, LabelMap, construction_labels
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.fields import section
from detr_hf.recipe.prepare import Writing

SPLIT_FILE = "splits.json"
OURS = re.compile(r"train|validation|test|fold_\d+|data\.yaml")


@section
class WriteSettings(Writing):
    """The recipe's ``write``, and how that is done.

    Images that are no files below the source's folder are copied always.

    Attributes:
        num_proc: processes; the result does not depend on it.
        teacher: name of the model that drew the stuff, for the card; None where there is none.
    """

    num_proc: int = 1
    teacher: str | None = None


@dataclass
class Written:
    """What was written.

    Attributes:
        splits: summary by folder relative to OUT: "train", "validation", or "fold_1/train", ...
        issues: file of JSON lines with what was left out while painting (see ``records.issues_in``).
    """

    issues: Path
    splits: dict[str, SplitSummary] = field(default_factory=dict)


def write_dataset(
    records: Path,
    root: Path,
    stuff: Path | None,
    splits: Splits,
    labels: LabelMap,
    out: Path,
    settings: WriteSettings | None = None,
) -> Written:
    """Write the data set into ``out`` and read it back.

    Per split: ``panoptic.json`` with its folder ``panoptic``, and ``detection.json`` with the boxes of all
    segments. Beside them ``label_map.json``, ``splits.json``, ``data.yaml`` (what a recipe's ``data`` needs)
    and ``README.md`` (the card). With folds each fold is a data set in ``fold_<n>``, validated on its own
    part.

    Args:
        records: the JSON lines of the step ``merge``.
        root: the source's folder, which their files are relative to; only read.
        stuff: what ``pseudo_label`` wrote; None for no stuff but that of given id maps.
        splits: where every record goes.
        labels: a class for every category name of records and stuff.
        out: folder of the data set; an older one in it is replaced.

    Raises:
        UserError: a image or map changed since it was read, a class is not in the label map, a record is in
            no split, or what was written does not read back.
    """
    settings = settings or WriteSettings()
    if any(record.image.is_absolute() for record in read_records(records)):
        settings = replace(settings, copy_images=True)
    steps, images = out / "steps" / "write", out / "images" if settings.copy_images else root
    job = PaintJob(root, stuff, steps / "painted", settings.most_hidden)
    job.folder.mkdir(parents=True, exist_ok=True)
    total = sum(1 for _ in read_records(records))
    _run(in_order(job, read_records(records), settings.num_proc), total, "paint id maps")
    if settings.copy_images:
        copy = partial(_copy_image, root, images)
        _run(in_order(copy, read_records(records), settings.num_proc), total, "copy images")
    fresh = steps / "assembled"
    shutil.rmtree(fresh, ignore_errors=True)
    written = _assemble(records, job, splits, labels, fresh, settings.copy_images)
    for name, summary in written.splits.items():
        # Folds link the same PNG files: each image is validated in one of them.
        if not splits.is_folds or name.endswith(VALIDATION):
            read_back = verify_pixels(fresh / name, images, settings.num_proc)
            _run(read_back, summary.images, f"read {name} back")
        assert verify_lists(fresh / name) == summary.images, "as many images as were written"
    splits.save(fresh / SPLIT_FILE)
    labels.save(fresh)
    for fold in splits.names if splits.is_folds else ("",):
        write_text(fresh / fold / DATA_FILE, _data_yaml(out, fold, images, labels))
    facts = CardFacts(settings.title, settings.license, settings.teacher, splits, written.splits)
    write_text(fresh / CARD_FILE, card_text(labels, facts))
    _put_in_place(fresh, out)
    return written


def _run(work: Iterator[object], total: int, what: str) -> None:
    for _ in progress(work, total, what):
        pass


def _assemble(
    records: Path, job: PaintJob, splits: Splits, labels: LabelMap, folder: Path, copied: bool
) -> Written:
    """All splits in one pass over the records."""
    written = Written(folder.parent / "issues.jsonl")
    homes = _homes(splits)
    category_ids = {one.name: one.source_id for one in labels.categories}
    coco: dict[str, CocoSplit] = {}
    with ExitStack() as stack:
        for name in sorted({name for found in homes.values() for name in found}):
            coco[name] = CocoSplit(folder / name, category_ids)
            stack.callback(coco[name].close)
            (folder / name / PNG_FOLDER).mkdir()
            written.splits[name] = SplitSummary()
        notes = stack.enter_context(written.issues.open("w", encoding="utf-8", newline="\n"))
        left_out = splits.left_out
        for record in (one for one in read_records(records) if one.file_name not in left_out):
            place = splits.of.get(record.file_name)
            if place is None:
                raise UserError(f"{record.file_name} is in no split; run the step `split` again")
            objects, issues = job.result(record)
            _require_classes(record, objects, labels)
            for name in homes[place]:
                coco[name].add_image(record, record.file_name if copied else record.image.as_posix())
                coco[name].add_boxes(record.image_id, objects, outlines=False)
                png = coco[name].add_segments(record.image_id, objects)
                link_or_copy(job.png(record), folder / name / PNG_FOLDER / png)
                written.splits[name].count(objects)
            if issues:
                notes.write(to_line({"issues": issues_to_lists(issues)}) + "\n")
        for split in coco.values():
            split.write(labels.to_coco_categories(), DETECTION_FILE, PANOPTIC_FILE)
    return written


def _require_classes(record: Record, objects: Sequence[Annotation], labels: LabelMap) -> None:
    for found in objects:
        if found.category not in labels.label2id:
            raise UserError(
                f"{record.file_name}: class '{found.category}' is not in the label map; add it there, or "
                "leave `labels` out to take the classes of the data"
            )


def _homes(splits: Splits) -> Mapping[str, list[str]]:
    """Split or fold of a image -> the folders that it goes to."""
    if not splits.is_folds:
        return {name: [name] for name in splits.names}
    return {
        fold: [f"{other}/{VALIDATION if other == fold else TRAIN}" for other in splits.names]
        for fold in splits.names
    }


def _copy_image(root: Path, folder: Path, record: Record) -> None:
    target = inside(folder, record.file_name)
    if target.is_file() and sha256_of(target) == record.sha256:
        return
    content = read_bytes(root / record.image, MAX_FILE_BYTES, "image file", record.file_name)
    if sha256(content).hexdigest() != record.sha256:
        raise UserError(f"{record.file_name}: changed since it was read; prepare the data anew")
    write_bytes(target, content)


def _data_yaml(out: Path, fold: str, images: Path, labels: LabelMap) -> str:
    """Of a pair of train and validation; paths as the caller gave the source and OUT."""
    is_preset = labels == construction_labels()
    section: dict[str, Any] = {
        name: split_entry(out / fold / name, PANOPTIC_FILE, images, PNG_FOLDER)
        for name in (TRAIN, VALIDATION)
    }
    section["labels"] = CONSTRUCTION if is_preset else (out / LABEL_MAP_FILE).as_posix()
    return data_yaml({"data": section})


def _put_in_place(fresh: Path, out: Path) -> None:
    """Move everything from ``fresh`` into ``out``; what an older run left there steps aside, then goes."""
    aside = fresh.with_name("old")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    new = {entry.name for entry in fresh.iterdir()}
    for entry in list(out.iterdir()):
        if entry.name in new or OURS.fullmatch(entry.name):
            entry.replace(aside / entry.name)
    for name in sorted(new):
        (fresh / name).replace(out / name)
    fresh.rmdir()
    shutil.rmtree(aside)
