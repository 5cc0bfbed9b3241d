"""Step `write`: the records, painted and split, as a data set that training reads.

All is made in ``OUT/steps/write``, and takes its place in OUT once it is whole. The same input gives the same
bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from detr_hf.data.card import CARD_FILE, UNNAMED, CardFacts, SplitSummary, card_text
from detr_hf.data.issues import Issue
from detr_hf.data.paint import Stuff, paint
from detr_hf.data.pseudo_label import read_pseudo_stuff
from detr_hf.data.records import Record, issues_to_lists, to_line
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sinks.coco import data_yaml, split_entry
from detr_hf.data.sinks.coco_files import CocoSplit
from detr_hf.data.sinks.coco_panoptic import PANOPTIC_FILE, PNG_FOLDER
from detr_hf.data.split import TRAIN, VALIDATION, Splits
from detr_hf.data.workers import in_order
from detr_hf.errors import UserError
from detr_hf.files import link_or_copy, sha256_of, write_bytes, write_text
from detr_hf.foreign_files import inside, read_bytes
from detr_hf.images import MAX_FILE_BYTES
from detr_hf.labels import CONSTRUCTION, LABEL_MAP_FILE, LabelMap, construction_labels
from detr_hf.progress import progress
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.fields import section
from detr_hf.recipe.prepare import Writing

SPLIT_FILE, ISSUES_FILE, DETECTION_FILE = "splits.json", "issues.jsonl", "detection.json"
OURS = re.compile(r"train|validation|test|fold_\d+|data\.yaml")


@section
class WriteSettings(Writing):
    """The recipe's ``write``, and how that is done.

    Images that are no files below the source's folder are copied always.

    Attributes:
        num_proc: processes; the result does not depend on it.
        teacher: name of the model that drew the stuff, for the card; None where there is none.
        all_classes: keep the classes without a segment; else they are left out of the label map.
    """

    num_proc: int = 1
    teacher: str | None = None
    all_classes: bool = True


def write_dataset(
    records: Iterable[Record],
    root: Path,
    stuff: Path | None,
    splits: Splits,
    labels: LabelMap,
    out: Path,
    settings: WriteSettings | None = None,
) -> dict[str, SplitSummary]:
    """Write the data set into ``out``; what was left out while painting is in ``steps/write/issues.jsonl``.

    Per split: ``panoptic.json`` with its folder ``panoptic``, and ``detection.json`` with the boxes of all
    segments. Beside them ``label_map.json``, ``splits.json``, ``data.yaml`` (what a recipe's ``data`` needs)
    and ``README.md`` (the card). With folds each fold is a data set in ``fold_<n>``, validated on its own
    part.

    Args:
        records: are gone through several times.
        root: the source's folder, which their files are relative to; only read.
        stuff: what ``pseudo_label`` wrote; None for no stuff but that of given id maps.
        splits: where every record goes.
        labels: a class for every category name of records and stuff.
        out: folder of the data set; an older one in it is replaced.

    Returns:
        What each folder of OUT holds: "train", "validation", or "fold_1/train", ...

    Raises:
        UserError: an image or map changed since it was read, a class is not in the label map, or a record is
            in no split.
    """
    settings = settings or WriteSettings()
    if any(record.image.is_absolute() for record in records):
        settings = replace(settings, copy_images=True)
    images, total = out / "images" if settings.copy_images else root, len(splits.of)
    if settings.copy_images:
        copied = in_order(partial(_copy_image, root, images), records, settings.num_proc)
        for _ in progress(copied, total, "copy images"):
            pass
    fresh = out / "steps" / "write" / "assembled"
    shutil.rmtree(fresh, ignore_errors=True)
    left_out = splits.left_out
    kept = (record for record in records if record.file_name not in left_out)
    painted = in_order(_Painter(root, stuff, settings.most_hidden), kept, settings.num_proc)
    bar = progress(painted, total, "paint id maps")
    summaries, labels = _assemble(bar, splits, labels, fresh, settings)
    splits.save(fresh / SPLIT_FILE)
    labels.save(fresh)
    for fold in splits.names if splits.is_folds else ("",):
        write_text(fresh / fold / DATA_FILE, _data_yaml(out, fold, images, labels))
    facts = CardFacts(settings.title or UNNAMED, settings.license, settings.teacher, splits, summaries)
    write_text(fresh / CARD_FILE, card_text(labels, facts))
    _put_in_place(fresh, out)
    return summaries


Painted = tuple[Record, bytes, list[Issue]]
"""A record with the objects that are seen, its id map as a PNG, and what was left out."""


@dataclass(frozen=True)
class _Painter:
    """Paints records; picklable."""

    root: Path
    stuff: Path | None
    most_hidden: float

    def __call__(self, record: Record) -> Painted:
        stuff = None
        if record.id_map is not None:
            record = replace(record, id_map=self.root / record.id_map)
        elif self.stuff is not None:
            stuff = Stuff(*read_pseudo_stuff(record, self.stuff))
        painted = paint(record, stuff, self.most_hidden)
        return replace(record, objects=painted.objects), png_bytes(painted.id_map), painted.issues


def _assemble(
    painted: Iterable[Painted], splits: Splits, labels: LabelMap, folder: Path, settings: WriteSettings
) -> tuple[dict[str, SplitSummary], LabelMap]:
    """All splits in one pass over the records; what they hold, and the label map that they follow."""
    homes = _homes(splits)
    category_ids = {one.name: one.source_id for one in labels.categories}
    names = sorted({name for found in homes.values() for name in found})
    summaries = {name: SplitSummary() for name in names}
    coco: dict[str, CocoSplit] = {}
    with ExitStack() as stack:
        for name in names:
            coco[name] = CocoSplit(folder / name, category_ids)
            stack.callback(coco[name].close)
            (folder / name / PNG_FOLDER).mkdir()
        issues_file = folder.with_name(ISSUES_FILE)
        notes = stack.enter_context(issues_file.open("w", encoding="utf-8", newline="\n"))
        for record, png, issues in painted:
            place = splits.of.get(record.file_name)
            if place is None:
                raise UserError(f"{record.file_name} is in no split; run the step `split` again")
            _require_classes(record, labels)
            first = None
            for name in homes[place]:
                image_file = record.file_name if settings.copy_images else record.image.as_posix()
                coco[name].add_image(record, image_file)
                coco[name].add_boxes(record.image_id, record.objects, outlines=False)
                file = folder / name / PNG_FOLDER / coco[name].add_segments(record.image_id, record.objects)
                if first is None:
                    file.write_bytes(png)
                else:  # folds share one file
                    link_or_copy(first, file)
                first = first or file
                summaries[name].count(record.objects)
            if issues:
                notes.write(to_line({"issues": issues_to_lists(issues)}) + "\n")
        used = {name for summary in summaries.values() for name in summary.images_of}
        if used and not settings.all_classes:  # a label map needs a class
            labels = labels.restricted_to(used)
        for split in coco.values():
            split.write(labels.to_coco_categories(), DETECTION_FILE, PANOPTIC_FILE)
    return summaries, labels


def _require_classes(record: Record, labels: LabelMap) -> None:
    for found in record.objects:
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
        raise UserError(f"{record.file_name}: changed since it was read; prepare the data again")
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
