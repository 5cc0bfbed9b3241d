"""A copy of the annotations in which every proposal is carried out, as COCO; the source stays as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from detr_hf.data.boxes import box_format_of
from detr_hf.data.convert import RepairWork, merged_categories
from detr_hf.data.id_maps import with_masks
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks import open_sink
from detr_hf.data.workers import in_threads
from detr_hf.progress import progress
from detr_hf.review.parts import Part
from detr_hf.review.rows import Row
from detr_hf.review.suspicions import CLASS, MISPLACED, MISSING

ATTRIBUTE, SCORE = "review", "review_score"


def write_corrected(parts: Sequence[Part], rows: Sequence[Row], out: Path, copy_images: bool = False) -> None:
    """Write the images of all parts with their annotations, corrected, in the format of `detr-hf convert`.

    What was changed or added has ``attributes`` that say so; an image that lost annotations says so in
    ``review`` of its own entry.

    Args:
        parts: a split each.
        rows: the proposals.
        out: a folder, which is replaced.
        copy_images: see `convert`.

    Raises:
        UserError: the images are not in one folder, and not copied; or a file cannot be written.
    """
    splits = {part.name: part.source for part in parts}
    categories, _ = merged_categories(splits)
    beside = parts[0].beside
    with open_sink("coco")(out, splits, categories, beside, copy_images) as sink:
        for part in parts:
            of_images: dict[int, list[Row]] = defaultdict(list)
            for row in rows:
                if row.part == part.name:
                    of_images[row.image_id].append(row)
            work = RepairWork(Repair(box_format_of(part.source), decode=False), part.labels)
            made = in_threads(work, part.source.samples())
            for sample, issues, _ in progress(made, len(part.source), f"correcting {part.name}"):
                if sample is None or sample.image_id in part.truth.row_of:
                    sink.note(part.name, issues)
                if sample is not None and sample.image_id in part.truth.row_of:
                    sink.add(part.name, corrected(sample, of_images[sample.image_id]))


def corrected(sample: Sample, rows: Sequence[Row]) -> Sample:
    """The sample with these proposals carried out; segments of an id map become masks of their own."""
    if not rows:
        return sample
    sample = with_masks(sample)
    assert sample.size_hw is not None
    objects = {found.id: found for found in sample.objects}
    removed = []
    next_id = max((number for number in objects if isinstance(number, int)), default=0) + 1
    for row in rows:
        if row.kind == MISSING:
            objects[next_id] = _changed(Annotation(next_id, row.label), row, sample.size_hw)
            next_id += 1
        elif row.annotation_id not in objects:
            continue  # gone already
        elif row.kind in (CLASS, MISPLACED):
            objects[row.annotation_id] = _changed(objects[row.annotation_id], row, sample.size_hw)
        else:
            del objects[row.annotation_id]
            removed.append(f"{row.kind}: {row.sentence}")
    extra = {**sample.extra, ATTRIBUTE: removed} if removed else sample.extra
    return replace(sample, objects=list(objects.values()), extra=extra)


def _changed(found: Annotation, row: Row, size_hw: tuple[int, int]) -> Annotation:
    """The annotation as the model sees it, with attributes that say what it was."""
    was = f"{row.kind}: {found.category if row.kind == CLASS else row.sentence}"
    old = found.extra.get("attributes")
    attributes = {**(old if isinstance(old, dict) else {}), ATTRIBUTE: was, SCORE: row.score}
    extra: dict[str, Any] = {**found.extra, "attributes": attributes}
    if row.kind == CLASS:
        return replace(found, category=row.seen_label, extra=extra)
    assert row.seen_box is not None
    box, mask = _inside(row.seen_box, size_hw), row.seen_mask
    area = box[2] * box[3] if mask is None else float(coco_mask.area(mask))
    return replace(found, bbox=box, segmentation=mask, area=area, extra=extra)


def _inside(box: Sequence[float], size_hw: tuple[int, int]) -> list[float]:
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(box[0] + box[2], size_hw[1]), min(box[1] + box[3], size_hw[0])
    return [left, top, right - left, bottom - top]
