"""How good pseudo-labeled stuff is, where the truth is known: in the synthetic yard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.errors import UserError
from detr_hf.images import decode_id_map
from detr_hf.labels import LabelMap
from detr_hf.metrics.panoptic_quality import PanopticQuality

SPLITS = ("train", "validation")


def score_pseudo_stuff(prepared: str | Path, truth: str | Path) -> dict[str, Any]:
    """PQ of a prepared data set's stuff against the true stuff; things are void in the truth.

    Only pixels that truly are stuff count, as the metric leaves void out: what a teacher calls a thing that
    nobody annotated does not matter, stuff that it leaves void does.

    Args:
        prepared: what `detr-hf prepare` wrote, with ``train/`` and ``validation/``.
        truth: ``panoptic.json`` and ``panoptic/`` of the same images under the same names.

    Returns:
        As ``PanopticQuality.compute``, with "images" in addition.

    Raises:
        UserError: an image of the data set has no truth.
    """
    true, found = _stuff_of(Path(truth)), [_stuff_of(Path(prepared) / split) for split in SPLITS]
    segments = [segments for one in (true, *found) for _, segments in one.values()]
    labels = LabelMap.from_names([], stuff=list(dict.fromkeys(name for s in segments for name in s.values())))
    metric = PanopticQuality(labels)
    images = [(name, stuff) for one in found for name, stuff in one.items()]
    for number, (name, stuff) in enumerate(images):
        if name not in true:
            raise UserError(f"{prepared}: {name} has no truth in {truth}")
        metric.add_batch(
            predictions=[_row(number, stuff, labels)], references=[_row(number, true[name], labels)]
        )
    return {**metric.compute(), "images": len(images)}


_Stuff = tuple[Path, dict[int, str]]
"""The file of an image's id map, and the class of every segment of stuff in it."""


def _stuff_of(folder: Path) -> dict[str, _Stuff]:
    """The stuff of a COCO panoptic set, by the file name of the image."""
    content = json.loads((folder / "panoptic.json").read_bytes())
    stuff = {entry["id"]: entry["name"] for entry in content["categories"] if not entry["isthing"]}
    annotations = {entry["image_id"]: entry for entry in content["annotations"]}
    maps = {}
    for image in content["images"]:
        entry = annotations[image["id"]]
        classes = {s["id"]: stuff.get(s["category_id"]) for s in entry["segments_info"]}
        names = {number: name for number, name in classes.items() if name is not None}
        maps[image["file_name"]] = folder / "panoptic" / entry["file_name"], names
    return maps


def _row(image_id: int, stuff: _Stuff, labels: LabelMap) -> dict[str, Any]:
    """What the metric takes: the id map with all but stuff void, and the class of every id in it."""
    file, names = stuff
    id_map = decode_id_map(file)
    return {
        "image_id": image_id,
        "id_map": np.where(np.isin(id_map, list(names)), id_map, 0).astype(np.int32),
        "segments": [
            {"id": number, "category_id": labels.label2id[name], "iscrowd": False}
            for number, name in names.items()
        ],
    }
