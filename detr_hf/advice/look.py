"""A data set looked at for its facts, by the way that training reads it. No pixel is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import datasets
import numpy as np

from detr_hf.advice.facts import Facts
from detr_hf.data.build import labels_of, require_something_to_learn
from detr_hf.data.open_data import open_split, split_of_role
from detr_hf.data.reading import read_source
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened
from detr_hf.data.sources.splits import TRAIN, VALIDATION
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.balance import split_objects
from detr_hf.loading.tiles import Tiling, tile_table
from detr_hf.recipe import Split
from detr_hf.recipe.data import Tiles

OUTLINES_LOOKED_AT = 500  # images
TEST = ("test", "testing")


@dataclass(frozen=True)
class Looked:
    """A data set that was looked at."""

    opened: Opened
    remark: str  # its format and the images of each split
    labels: LabelMap
    facts: Facts
    train: datasets.Dataset  # the rows of its training split, without images


def look_at(split: Split) -> Looked:
    """Open a data set, read the annotations of its training split, and count.

    What is read stays in the cache, where a training finds it.

    Raises:
        UserError: it cannot be opened, has faults that a training would stop at, or nothing to learn.
    """
    assert split.path is not None
    opened, remark = open_split(split, split.path)
    train = split_of_role(opened, TRAIN, TRAIN, split.path)
    assert train is not None
    try:
        validation = split_of_role(opened, VALIDATION, VALIDATION, split.path, is_needed=False)
        labels = labels_of(None, opened.labels, train)
        rows, report = read_source(train, labels)
        held_out = [] if validation is None else [split_objects(read_source(validation, labels)[0])]
        require_something_to_learn(report)
    except UserError as error:
        raise UserError(f"{error}\n`detr-hf check {split.path}` lists all of it, and what to do") from None
    others = [name for name, source in opened.splits.items() if source is not train]
    test = next((name for name in others if name.casefold() in TEST), None)
    objects = split_objects(rows)
    facts = Facts(
        images=len(rows),
        validation=len(validation) if validation is not None else 0,
        test=None if test is None else (test, len(opened.splits[test])),
        boxes_wh_px=objects.boxes_wh_px,
        sizes_hw=objects.sizes_hw,
        image_sizes_hw=np.stack([np.asarray(rows[name], np.float64) for name in ("height", "width")], 1),
        most_objects=max(one.most_in_one_image for one in (objects, *held_out)),
        class_images={name: objects.images_of(label) for label, name in enumerate(labels.names)},
        stuff=tuple(labels.names[label] for label in labels.stuff_ids),
        outline_share=1.0 if train.is_panoptic else outline_share(train.samples()),
        is_panoptic=train.is_panoptic,
    )
    return Looked(opened, remark, labels, facts, rows)


def in_tiles(looked: Looked, tiles: dict[str, Any]) -> Facts:
    """The facts as a training in windows sees them."""
    table = tile_table(looked.train, Tiling(Tiles(**tiles), looked.labels.stuff_ids))
    most = int(np.bincount(table.object_tiles, minlength=1).max())
    return replace(looked.facts, windows=max(1, round(float(table.shown.sum()))), most_objects=most)


def outline_share(samples: Iterable[Sample]) -> float:
    """Of the objects of the first images, those with an outline that is no mere rectangle of their box."""
    has_outline = [
        _is_outlined(one) for sample in islice(samples, OUTLINES_LOOKED_AT) for one in sample.objects
    ]
    return float(np.mean(has_outline)) if has_outline else 0.0


def _is_outlined(found: Annotation) -> bool:
    outline = found.segmentation
    if isinstance(outline, dict):  # run lengths
        return True
    polygons = outline if isinstance(outline, list) else []
    return any(isinstance(polygon, list) and not _is_rectangle(polygon) for polygon in polygons)


def _is_rectangle(polygon: list[Any]) -> bool:
    """Whether it has upright sides alone, as tools write it for a box."""
    return len(set(map(str, polygon[::2]))) <= 2 and len(set(map(str, polygon[1::2]))) <= 2
