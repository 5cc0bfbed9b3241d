"""What was written is read again: every mask, box and area, and that all files say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.data.processes import in_order
from detr_hf.data.sinks.prepared_files import DETECTION_FILE, PANOPTIC_FILE, PNG_FOLDER, entries_of
from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.images import decode_id_map


@dataclass(frozen=True)
class _Pair:
    """The image and the panoptic annotation of one image, as read back from a split's folder."""

    folder: Path
    image: dict[str, Any]
    annotation: dict[str, Any]


def verify_split(folder: Path, processes: int = 1) -> int:
    """Read a written split again and compare; returns the number of images.

    Raises:
        UserError: a file is missing or damaged, or two of them disagree; the message names it.
    """
    for _ in verify_pixels([folder], processes):
        pass
    return verify_lists(folder)


def verify_pixels(folders: Iterable[Path], processes: int = 1) -> Iterator[None]:
    """Recount every PNG and compare it with `panoptic.json`, image by image; faults as `verify_split`."""
    pairs = (pair for folder in folders for pair in _pairs(folder))
    yield from in_order(_check_pixels, pairs, processes)


def _pairs(folder: Path) -> Iterator[_Pair]:
    """Images with their panoptic annotations, in the order of both."""
    file = folder / PANOPTIC_FILE
    for image, annotation in zip_longest(entries_of(file, "images"), entries_of(file, "annotations")):
        if image is None or annotation is None or image["id"] != annotation["image_id"]:
            raise _disagreement(file, f"image {image and image['id']} stands beside another annotation")
        yield _Pair(folder, image, annotation)


def _disagreement(file: Path, what: str) -> UserError:
    return UserError(f"{file}: {what}; write the data set again")


def _check_pixels(pair: _Pair) -> None:
    file = pair.folder / PNG_FOLDER / pair.annotation["file_name"]
    segments = pair.annotation["segments_info"]
    id_map = decode_id_map(file)
    size_hw = (pair.image["height"], pair.image["width"])
    if id_map.shape != size_hw:
        raise _disagreement(file, f"is of (height, width) {id_map.shape}, the JSON says {size_hw}")
    ids = np.array([found["id"] for found in segments], np.int64)
    if set(np.unique(id_map).tolist()) - {0} != set(ids.tolist()):
        raise _disagreement(file, "holds other ids than the JSON lists")
    boxes, areas = boxes_and_areas_of_segments(id_map, ids)
    for found, box, area in zip(segments, boxes_xyxy_to_xywh(boxes).tolist(), areas.tolist(), strict=True):
        if found["bbox"] != box or found["area"] != area:
            counted, said = f"box {box} and area {area}", f"{found['bbox']} and {found['area']}"
            raise _disagreement(file, f"segment {found['id']} has {counted}, the JSON says {said}")


def verify_lists(folder: Path) -> int:
    """Compare the JSON files: the detection file lists the segments of the panoptic file, in their order.

    Returns the number of images; faults as `verify_split`.
    """
    file = folder / DETECTION_FILE
    boxes = entries_of(file, "annotations")
    images = written = 0
    for pair, image in zip_longest(_pairs(folder), entries_of(file, "images")):
        if pair is None or image != pair.image:
            raise _disagreement(file, f"does not list the images of {PANOPTIC_FILE}")
        for segment in pair.annotation["segments_info"]:
            written += 1
            expected = {key: value for key, value in segment.items() if key != "id"}
            if next(boxes, None) != {"id": written, "image_id": image["id"]} | expected:
                raise _disagreement(file, f"image {image['id']} has other boxes than in {PANOPTIC_FILE}")
        images += 1
    if next(boxes, None) is not None:
        raise _disagreement(file, f"has boxes that {PANOPTIC_FILE} does not have")
    return images
