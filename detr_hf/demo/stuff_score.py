"""How good pseudo-labeled stuff is, where the truth is known: in the synthetic yard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        truth: ``panoptic.json`` and ``panoptic/`` of the same pictures under the same names.

    Returns:
        As ``PanopticQuality.compute``, with "pictures" besides.

    Raises:
        UserError: a picture of the data set has no truth.
    """
    true_maps = _Maps(Path(truth), "panoptic.json")
    sets = [_Maps(Path(prepared) / split, "panoptic.json") for split in SPLITS]
    names = dict.fromkeys(name for one in [true_maps, *sets] for name in one.stuff_names)
    labels = LabelMap.from_names([], stuff=list(names))
    metric = PanopticQuality(labels)
    known = {entry["file_name"]: entry["id"] for entry in true_maps.content["images"]}
    count = 0
    for one in sets:
        for image in one.content["images"]:
            if image["file_name"] not in known:
                raise UserError(f"{one.folder}: {image['file_name']} has no truth in {truth}")
            count += 1
            found, true = one.stuff_of(image["id"]), true_maps.stuff_of(known[image["file_name"]])
            rows = [
                {"image_id": count, "id_map": id_map, "segments": _as_classes(segments, labels)}
                for id_map, segments in (found, true)
            ]
            metric.add_batch(predictions=rows[:1], references=rows[1:])
    return {**metric.compute(), "pictures": count}


def _as_classes(segments: dict[int, str], labels: LabelMap) -> list[dict[str, Any]]:
    return [
        {"id": number, "category_id": labels.label2id[name], "iscrowd": False}
        for number, name in segments.items()
    ]


class _Maps:
    """The stuff of a COCO panoptic set."""

    def __init__(self, folder: Path, file: str) -> None:
        self.folder = folder
        self.content = json.loads((folder / file).read_bytes())
        kinds = self.content["categories"]
        self.stuff = {kind["id"]: kind["name"] for kind in kinds if not kind["isthing"]}
        self.annotations = {entry["image_id"]: entry for entry in self.content["annotations"]}

    @property
    def stuff_names(self) -> Iterator[str]:
        """Of stuff that occurs, once for every segment."""
        for entry in self.annotations.values():
            for segment in entry["segments_info"]:
                if segment["category_id"] in self.stuff:
                    yield self.stuff[segment["category_id"]]

    def stuff_of(self, image_id: int) -> tuple[NDArray[np.int32], dict[int, str]]:
        """The id map ``int32 [H, W]`` with all but stuff void, and the class name of every id in it."""
        entry = self.annotations[image_id]
        segments = {
            segment["id"]: self.stuff[segment["category_id"]]
            for segment in entry["segments_info"]
            if segment["category_id"] in self.stuff
        }
        id_map = decode_id_map(self.folder / "panoptic" / entry["file_name"])
        return np.where(np.isin(id_map, list(segments)), id_map, 0).astype(np.int32), segments
