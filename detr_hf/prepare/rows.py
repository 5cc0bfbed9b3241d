"""One source picture to one row of the data set, with everything about it checked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import ExifTags, Image

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.images import decode_id_map, image_size
from detr_hf.prepare.findings import Fault, FaultError, Findings, listed
from detr_hf.prepare.source import SourceImage, SourceObject

CLIPPED = "boxes reached over the edge of their image and were clipped"
OUTSIDE = "objects were dropped: their box lies wholly outside the image"
NO_SIZE = "objects were dropped: their box has no width or no height"
VOID = "objects were dropped: their class counts as void in this label map"
NOT_IN_PNG = "segments were dropped: no pixel of the PNG has their id"
MENDED_SIZE = "images declare another size than their file has; the file's size is used"
MEASURED_SIZE = "images declare no size; the file's size is used"
EMPTY = "images have no objects and stay in the set as negatives"

TOLERANCE_PX = 0.01  # rounding of exporters, not worth a note
SLACK_PX = 1.0  # an overshoot that no wrong image size explains


@dataclass(frozen=True)
class RowMaker:
    """Turns source pictures into rows.

    Args:
        classes: the class id of each source category id; None where its objects are to be dropped as void.
        with_pictures: whether rows hold ``image`` and ``panoptic``; not where they stay in a saved data set.
    """

    classes: dict[int, int | None]
    with_pictures: bool

    def __call__(self, source: SourceImage) -> tuple[dict[str, Any] | None, Findings]:
        """The row, or None where there are faults; and what was found.

        A fault in one picture never raises, so that many can be shown at once. Thread safe.
        """
        findings = Findings()
        try:
            row = self._row(source, findings)
        except UserError as fault:
            findings.faults.append(
                Fault(getattr(fault, "code", "image-unreadable"), f"{source.name}: {fault}")
            )
        return (None if findings.faults else row), findings

    def _row(self, source: SourceImage, findings: Findings) -> dict[str, Any]:
        size_hw = _true_size(source)
        _check_declared_size(source, size_hw, findings)
        known = [found for found in source.objects if self._has_class(found, source, findings)]
        if source.panoptic is None:
            objects = _checked_boxes(known, source, size_hw, findings)
        else:
            objects = _counted_segments(known, source, size_hw, findings)
        for entry in objects:
            entry["category"] = self.classes[entry["category"]]
        if not objects and not findings.faults:
            findings.notes.append((EMPTY, source.name))
        pictures = {"image": source.image, "panoptic": source.panoptic} if self.with_pictures else {}
        return {name: str(picture) for name, picture in pictures.items() if picture is not None} | {
            "image_id": source.image_id,
            "file_name": source.file_name,
            "height": size_hw[0],
            "width": size_hw[1],
            "objects": {
                key: [entry[key] for entry in objects]
                for key in ("id", "bbox", "category", "area", "iscrowd")
            },
        }

    def _has_class(self, found: SourceObject, source: SourceImage, findings: Findings) -> bool:
        if type(found.category) is not int or found.category not in self.classes:
            known = listed(map(str, sorted(self.classes)), limit=5)
            said = f"category {found.category!r} is not among the file's categories ({known})"
            findings.faults.append(Fault("category-unknown", f"{source.name}, {found.where}: {said}"))
            return False
        if self.classes[found.category] is None:
            findings.notes.append((VOID, f"{source.name}, {found.where}"))
            return False
        return True


def _true_size(source: SourceImage) -> tuple[int, int]:
    if isinstance(source.image, Path) and not source.image.is_file():
        hint = _nearby(source.image, source.file_name)
        raise FaultError("image-missing", f"the file {source.image} is missing{hint}")
    return image_size(source.image)


def _nearby(path: Path, file_name: str) -> str:
    depth = len(Path(file_name).parts)
    if path.parts[-depth:] == Path(file_name).parts:
        folder = path.parents[depth - 1]
        for candidate in (folder / path.name, folder.parent / file_name):
            if candidate.is_file():
                return f"; there is {candidate}: is the images folder right?"
    return "; put it there or take it out of the annotation file"


def _check_declared_size(source: SourceImage, size_hw: tuple[int, int], findings: Findings) -> None:
    declared = source.declared_hw
    if declared is None:
        findings.notes.append((MEASURED_SIZE, source.name))
        return
    if tuple(declared) == size_hw:
        return
    boxed = source.panoptic is None and bool(source.objects)
    said = f"declared {declared[1]}x{declared[0]}, the file is {size_hw[1]}x{size_hw[0]} (width x height)"
    if boxed and tuple(declared) == size_hw[::-1] and turned_by_exif(source.image):
        why = (
            "once its EXIF rotation is applied: the boxes were drawn on the unrotated picture. "
            "Rotate the pixels and remove the EXIF tag, then annotate or export again"
        )
        findings.faults.append(Fault("exif-boxes", f"{source.name}: {said} {why}"))
        return
    if boxed and any(is_beyond(found.bbox, size_hw) for found in source.objects):
        why = (
            "and boxes reach beyond the file: they were drawn on a picture of another size. "
            "Use the original picture, or export the annotations for this one"
        )
        findings.faults.append(Fault("size-boxes", f"{source.name}: {said} {why}"))
        return
    findings.notes.append((MENDED_SIZE, f"{source.name}: {said}"))


def turned_by_exif(image: Path | bytes) -> bool:
    """Whether a readable picture lies on its side in the file and is turned upright when decoded."""
    with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)


def is_beyond(bbox: Any, size_hw: tuple[int, int]) -> bool:
    """Whether an xywh box reaches further out of the image than rounding explains."""
    if not is_box(bbox):
        return False
    x, y, w, h = bbox
    return x + w > size_hw[1] + SLACK_PX or y + h > size_hw[0] + SLACK_PX


def is_box(bbox: Any) -> TypeGuard[list[float]]:
    """Whether this is a list of four numbers; they may be NaN."""
    return (
        isinstance(bbox, (list, tuple))
        and len(bbox) == 4
        and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in bbox)
    )


def _checked_boxes(
    objects: list[SourceObject], source: SourceImage, size_hw: tuple[int, int], findings: Findings
) -> list[dict[str, Any]]:
    kept = []
    for found in objects:
        where = f"{source.name}, {found.where}"
        if not is_box(found.bbox):
            said = f"box {found.bbox!r} is not four numbers (x, y, width, height)"
            findings.faults.append(Fault("box-malformed", f"{where}: {said}"))
        elif not all(math.isfinite(value) for value in found.bbox):
            said = f"box {found.bbox} holds NaN or infinity; correct or remove it"
            findings.faults.append(Fault("box-malformed", f"{where}: {said}"))
        else:
            box = clipped_box(found.bbox, size_hw, where, findings)
            if box is not None:
                kept.append(_entry(found, box, _area(found.area, box)))
    return kept


def clipped_box(
    bbox: list[float], size_hw: tuple[int, int], where: str, findings: Findings
) -> list[float] | None:
    """The part of an xywh box inside the image, or None where nothing is left; notes say what was done."""
    x, y, w, h = map(float, bbox)
    if w <= 0 or h <= 0:
        findings.notes.append((NO_SIZE, f"{where}: {bbox}"))
        return None
    height, width = size_hw
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if x1 - x0 <= TOLERANCE_PX or y1 - y0 <= TOLERANCE_PX:
        findings.notes.append((OUTSIDE, f"{where}: {bbox} in {width}x{height}"))
        return None
    if max(x0 - x, y0 - y, x + w - x1, y + h - y1) > TOLERANCE_PX:
        findings.notes.append((CLIPPED, f"{where}: {bbox} in {width}x{height}"))
    return [x0, y0, x1 - x0, y1 - y0]


def _area(given: Any, box: list[float]) -> float:
    usable = (
        isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given) and given > 0
    )
    return float(given) if usable else box[2] * box[3]


def _entry(found: SourceObject, box_xywh: list[float], area: float) -> dict[str, Any]:
    return {
        "id": found.id,
        "bbox": box_xywh,
        "category": found.category,
        "area": area,
        "iscrowd": found.iscrowd,
    }


def _counted_segments(
    objects: list[SourceObject], source: SourceImage, size_hw: tuple[int, int], findings: Findings
) -> list[dict[str, Any]]:
    """Objects with boxes and areas counted in the PNG: what an annotation file says of them may differ."""
    assert source.panoptic is not None
    if isinstance(source.panoptic, Path) and not source.panoptic.is_file():
        raise FaultError("png-missing", f"its PNG {source.panoptic} is missing")
    try:
        id_map = decode_id_map(source.panoptic)
    except UserError as fault:
        raise FaultError("png-unreadable", str(fault)) from None
    if faults := _png_faults(id_map, source, size_hw):
        findings.faults += [Fault(fault.code, f"{source.name}: {fault.text}") for fault in faults]
        return []
    boxes_xyxy, areas = boxes_and_areas_of_segments(
        id_map, np.array([found.id for found in objects], np.int64)
    )
    entries = []
    for found, box, area in zip(
        objects, boxes_xyxy_to_xywh(boxes_xyxy).tolist(), areas.tolist(), strict=True
    ):
        if area == 0:
            findings.notes.append((NOT_IN_PNG, f"{source.name}, {found.where}"))
        else:
            entries.append(_entry(found, box, float(area)))
    return entries


def _png_faults(id_map: np.ndarray, source: SourceImage, size_hw: tuple[int, int]) -> list[Fault]:
    """All that keeps the PNG and the listed segments from fitting each other and the image."""
    faults = []
    if id_map.shape != size_hw:
        turned = id_map.shape == size_hw[::-1] and turned_by_exif(source.image)
        hint = " (it was drawn on the picture without its EXIF rotation)" if turned else ""
        faults.append(
            Fault(
                "png-size",
                f"its PNG is {id_map.shape[1]}x{id_map.shape[0]} but the image is "
                f"{size_hw[1]}x{size_hw[0]}{hint}; export both at one size",
            )
        )
    ids = [found.id for found in source.objects]
    wrong = [number for number in ids if type(number) is not int or not 0 < number < 1 << 24]
    if wrong:
        said = f"segment id {wrong[0]!r} is not a whole number from 1 to 2^24 - 1 (0 is void)"
        return [*faults, Fault("segment-id", said)]
    if len(set(ids)) < len(ids):
        twice = next(number for number, times in Counter(ids).items() if times > 1)
        faults.append(Fault("segment-id", f"segment id {twice} stands twice"))
    unknown = np.setdiff1d(id_map, [0, *ids])
    if len(unknown):
        faults.append(
            Fault(
                "png-unknown-ids",
                "its PNG holds ids that no segment of the annotation file has: "
                f"{listed(map(str, unknown), limit=5)}; "
                "export PNG and JSON together, and keep the PNG as it is (no resizing, no color conversion)",
            )
        )
    return faults
