"""Second half of mending a COCO file: one picture with its objects, opened and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.geometry import upright_xy
from detr_hf.images import decode_image
from detr_hf.prepare.check.boxes import area_fault, same_boxes
from detr_hf.prepare.check.changes import Changes
from detr_hf.prepare.check.outlines import bounds_of_polygons, polygon_fault, rle_fault
from detr_hf.prepare.check.upright import orientation_of, upright_box
from detr_hf.prepare.findings import Findings
from detr_hf.prepare.rows import clipped_box, is_beyond, is_box

SAME_SHAPE = 0.01  # relative difference of width / height that still counts as the same picture, scaled

Entry = dict[str, Any]


@dataclass
class Mended:
    """A picture after mending. Without ``keep`` it is left out; ``objects`` are its annotations."""

    image: Entry
    objects: list[Entry]
    changes: Changes
    keep: bool = True
    sha256: str = ""
    size_hw: tuple[int, int] = (0, 0)
    declared_hw: tuple[Any, Any] = field(default=(None, None))

    def drop(self, why: str) -> Mended:
        """Leave the picture out."""
        self.changes.add(self.image["file_name"], "image dropped", why)
        self.keep = False
        return self

    def note(self, kind: str, text: str) -> None:
        self.changes.add(self.image["file_name"], kind, text)


def opened(image: Entry, objects: list[Entry], path: Path, split: str) -> Mended:
    """The picture decoded once, with its true size; dropped where it is damaged."""
    mended = Mended(image, objects, Changes(split))
    try:
        pixels = decode_image(path)
    except UserError as fault:
        return mended.drop(str(fault))
    mended.size_hw = pixels.shape[0], pixels.shape[1]
    mended.sha256 = sha256_of(path)
    mended.declared_hw = image.get("height"), image.get("width")
    if mended.declared_hw != mended.size_hw:
        said = f"{image.get('width')}x{image.get('height')} is now {pixels.shape[1]}x{pixels.shape[0]}"
        mended.note("size corrected", said)
        mended.image = image | {"height": pixels.shape[0], "width": pixels.shape[1]}
    return mended


def mend_detection(image: Entry, objects: list[Entry], path: Path, split: str, as_xywh: str) -> Mended:
    """Boxes inside the picture, in its upright pixels; ``as_xywh`` says how they are written (see `mend`)."""
    mended = opened(image, objects, path, split)
    if not mended.keep:
        return mended
    if as_xywh:
        _to_pixels(mended, as_xywh)
    elif mended.declared_hw != mended.size_hw and not _onto_this_size(mended, path):
        return mended.drop("its boxes were drawn on a picture of another size and shape")
    mended.objects = [entry for entry in mended.objects if _mend_box(entry, mended)]
    for entry in mended.objects:
        _mend_outline(entry, mended)
    _drop_doubles(mended)
    return mended


def _to_pixels(mended: Mended, kind: str) -> None:
    height, width = mended.size_hw
    for entry in mended.objects:
        if is_box(entry.get("bbox")):
            x, y, a, b = entry["bbox"]
            corners = [x, y, a - x, b - y]
            entry["bbox"] = corners if kind == "corners" else [x * width, y * height, a * width, b * height]
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
            mended.note("box converted", f"object {entry.get('id')!r} was written as {kind}")


def _onto_this_size(mended: Mended, path: Path) -> bool:
    """Bring boxes drawn on the unrotated or a larger copy of the picture onto it; False if they fit none."""
    size, declared = mended.size_hw, mended.declared_hw
    orientation = orientation_of(path)
    if declared == size[::-1] and orientation >= 5:
        for entry in mended.objects:
            _turn(entry, orientation, size[::-1])
            mended.note("box turned", f"object {entry.get('id')!r}: by EXIF orientation {orientation}")
        return True
    if not any(is_beyond(entry.get("bbox"), size) for entry in mended.objects):
        return True
    known = all(type(side) in (int, float) and side > 0 for side in declared)
    if not known or abs(declared[1] * size[0] / (declared[0] * size[1]) - 1) > SAME_SHAPE:
        return False
    scale = size[1] / declared[1]
    for entry in mended.objects:
        if is_box(entry.get("bbox")):
            entry["bbox"] = [value * scale for value in entry["bbox"]]
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        outline = entry.get("segmentation")
        polygons = outline if isinstance(outline, list) else []
        sound = [one for one in polygons if not polygon_fault(one, (declared[0], declared[1]))]
        entry["segmentation"] = [[value * scale for value in one] for one in sound]
        mended.note("box scaled", f"object {entry.get('id')!r}: by {scale:.4g}")
    return True


def _turn(entry: Entry, orientation: int, stored_hw: tuple[int, int]) -> None:
    if is_box(entry.get("bbox")):
        entry["bbox"] = upright_box(entry["bbox"], orientation, stored_hw)
    polygons = entry.get("segmentation")
    if not isinstance(polygons, list):
        entry["segmentation"] = []
        return
    entry["segmentation"] = [
        [
            value
            for x, y in zip(one[::2], one[1::2], strict=True)
            for value in upright_xy(x, y, orientation, stored_hw)
        ]
        for one in polygons
        if not polygon_fault(one, stored_hw)
    ]


def _mend_box(entry: Entry, mended: Mended) -> bool:
    """A box inside the picture, from the polygons where there is none; False where nothing is left."""
    where, box = f"object {entry.get('id')!r}", entry.get("bbox")
    if not is_box(box) or not all(math.isfinite(value) for value in box) or min(box[2:]) <= 0:
        bounds = bounds_of_polygons(entry.get("segmentation"))
        if bounds is None:
            mended.note("object dropped", f"{where}: box {box!r}")
            return False
        mended.note("box from polygons", f"{where}: box {box!r}")
        box = list(bounds)
    inner = clipped_box(box, mended.size_hw, where, Findings())
    if inner is None:
        mended.note("object dropped", f"{where}: box {box} lies outside or has no size")
        return False
    if any(abs(old - new) > 1e-6 for old, new in zip(box, inner, strict=True)):
        mended.note("box clipped", f"{where}: {box} is now {inner}")
        box = inner
    entry["bbox"] = box
    area = entry.get("area")
    if area is not None and area_fault(area, box):
        mended.note("area corrected", f"{where}: {area!r} is now {box[2] * box[3]:g}")
        entry["area"] = box[2] * box[3]
    return True


def _mend_outline(entry: Entry, mended: Mended) -> None:
    """Without the polygons and run-length masks that are malformed."""
    outline = entry.get("segmentation")
    if isinstance(outline, dict):
        sound: Any = [] if rle_fault(outline, mended.size_hw) else outline
    elif isinstance(outline, list):
        sound = [one for one in outline if not polygon_fault(one, mended.size_hw)]
    else:
        sound = outline if outline is None else []
    if sound != outline:
        mended.note("outline dropped", f"object {entry.get('id')!r}")
        entry["segmentation"] = sound


def _drop_doubles(mended: Mended) -> None:
    """Objects that repeat another one exactly: same class, same box."""
    boxes = np.array([entry["bbox"] for entry in mended.objects], np.float64).reshape(-1, 4)
    doubled = set()
    for first, second in same_boxes(boxes):
        one, other = mended.objects[first], mended.objects[second]
        if all(one.get(key) == other.get(key) for key in ("bbox", "category_id", "iscrowd")):
            mended.note("object dropped", f"object {other.get('id')!r} repeats {one.get('id')!r}")
            doubled.add(second)
    mended.objects = [entry for at, entry in enumerate(mended.objects) if at not in doubled]
