"""What was written is read again, by the door and the checks of every other data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.data.sinks.coco_panoptic import PANOPTIC_FILE, PNG_FOLDER
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import MAX_JSON_BYTES, Place
from detr_hf.data.workers import in_order
from detr_hf.errors import UserError
from detr_hf.foreign_files import read_json

DETECTION_FILE = "detection.json"


def verify_pixels(folder: Path, images: Path, processes: int = 1) -> Iterator[None]:
    """Compare every PNG of a written split with `panoptic.json` and with its image, one after another.

    Raises:
        UserError: something is missing, damaged, or not as the JSON says; the message names it.
    """
    file = folder / PANOPTIC_FILE
    place = Place(file, str(file), images, folder / PNG_FOLDER)
    (source,) = open_place(place, "coco-panoptic")[1].splits.values()
    for issues in in_order(_issues, source.samples(), processes):
        for issue in issues:
            if issue.kind.effect != "noted":
                raise UserError(f"{file}: {issue}; write the data set again")
        yield


def _issues(sample: Sample) -> list[Issue]:
    return Repair(decode=False)(sample).issues


def verify_lists(folder: Path) -> int:
    """Compare the JSON files of a split: `detection.json` lists the segments of `panoptic.json`, in order.

    Returns the number of images; raises as ``verify_pixels``.
    """
    panoptic, detection = (
        read_json(folder / name, max_bytes=MAX_JSON_BYTES) for name in (PANOPTIC_FILE, DETECTION_FILE)
    )
    expected: list[dict[str, Any]] = []
    for entry in panoptic["annotations"]:
        for segment in entry["segments_info"]:
            expected.append(segment | {"id": len(expected) + 1, "image_id": entry["image_id"]})
    if detection["annotations"] != expected:
        raise UserError(f"{folder / DETECTION_FILE}: has other boxes than {PANOPTIC_FILE}; write it again")
    if detection["images"] != panoptic["images"]:
        raise UserError(f"{folder / DETECTION_FILE}: lists other images than {PANOPTIC_FILE}; write it again")
    return len(panoptic["images"])
