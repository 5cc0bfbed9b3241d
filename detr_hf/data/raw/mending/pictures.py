"""Step `mend`: every picture is opened, measured and hashed, its objects are put into upright pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from detr_hf.data.raw.findings import Finding
from detr_hf.data.raw.mending.frames import Frame, frame_of
from detr_hf.data.raw.mending.shapes import ObjectMender, reaches_beyond
from detr_hf.data.raw.reading.folders import RawPicture
from detr_hf.data.records import RawPanoptic, RawSegment, Record
from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.images import decode_id_map, decode_image
from detr_hf.recipe.prepare import Reading

SLACK_PX = 1.0  # an overshoot that no wrong size explains
MOST_LISTED = 5


def mend_picture(raw: Path, picture: RawPicture, settings: Reading) -> tuple[Record | None, list[Finding]]:
    """The record of one picture, with id 0; or None where the picture is dropped; and what was found.

    Opens the picture and, where there is one, its id map. Never raises for what is wrong with them.
    """
    path = raw / picture.file
    try:
        image = decode_image(path, picture.file)
        mode, orientation = _mode_and_orientation(path)
    except UserError as error:
        return None, [Finding("unreadable", picture.file, str(error).removeprefix(f"{picture.file}: "))]
    frame = frame_of(picture.declared_hw, image.shape[:2], orientation)
    findings = _about_picture(picture, frame, mode, orientation)
    record = Record(
        id=0,
        identity=f"{picture.class_folder}/{picture.name}",
        file=picture.file,
        class_folder=picture.class_folder,
        width=image.shape[1],
        height=image.shape[0],
        sha256=sha256_of(path),
        dhash=difference_hash(image),
    )
    if picture.png is not None:
        return _with_id_map(raw, picture, record, findings)
    if frame.problem == "size_wrong" and reaches_beyond(picture.annotations, frame.upright_hw, SLACK_PX):
        return None, [Finding("size_conflict", picture.file, _sizes(picture, frame))]
    mender = ObjectMender(picture.file, frame, settings.painted_masks == "crowd")
    objects = mender.mended(picture.annotations)
    findings += mender.findings
    return _kept(replace(record, objects=objects), findings, settings)


def _kept(record: Record, findings: list[Finding], settings: Reading) -> tuple[Record | None, list[Finding]]:
    if record.objects:
        return record, findings
    if settings.empty_images == "drop":
        return None, [*findings, Finding("empty_dropped", record.file)]
    return record, [*findings, Finding("empty", record.file)]


def _mode_and_orientation(path: Path) -> tuple[str, int]:
    """Pillow's mode of the stored pixels and the EXIF orientation, of a picture known to be readable."""
    with Image.open(path) as stored:
        mode = "transparent" if stored.has_transparency_data else stored.mode
        if stored.format == "PNG":  # may carry its tag behind the pixels
            stored.load()
        try:
            orientation = stored.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # a broken EXIF block: shown as it is stored, as detr_hf.images does
            orientation = 1
    return mode, orientation if orientation in range(1, 9) else 1


def _about_picture(picture: RawPicture, frame: Frame, mode: str, orientation: int) -> list[Finding]:
    findings = []
    if mode != "RGB":
        findings.append(Finding("not_rgb", picture.file, mode))
    if frame.problem is not None:
        findings.append(Finding(frame.problem, picture.file, _sizes(picture, frame)))
    if orientation != 1 and frame.orientation == 1:
        findings.append(Finding("rotated", picture.file, f"orientation {orientation}"))
    return findings


def _sizes(picture: RawPicture, frame: Frame) -> str:
    """Width x height, as sizes are usually said."""
    height, width = frame.upright_hw
    said = picture.declared_hw
    declared = "none" if said is None else f"{str(said[1])[:20]}x{str(said[0])[:20]}"
    return f"declared {declared}, the upright file is {width}x{height}"


def difference_hash(image: NDArray[np.uint8]) -> str:
    """64-bit difference hash of a picture uint8[H, W, 3], as 16 hex digits.

    Gray, shrunk to 9 x 8; a bit says whether a pixel is brighter than its left neighbor (after
    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    gray = Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)
    levels = np.asarray(gray).astype(int)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()


def _with_id_map(
    raw: Path, picture: RawPicture, record: Record, findings: list[Finding]
) -> tuple[Record | None, list[Finding]]:
    assert picture.png is not None
    try:
        id_map = decode_id_map(raw / picture.png, picture.png)
        segments, about_segments = _segments(picture, id_map, record.size_hw)
    except UserError as error:
        return None, [Finding("bad_png", picture.file, str(error))]
    panoptic = RawPanoptic(picture.png, segments)
    return replace(record, panoptic=panoptic), findings + about_segments


def _segments(
    picture: RawPicture, id_map: NDArray[np.int32], size_hw: tuple[int, int]
) -> tuple[list[RawSegment], list[Finding]]:
    """The segments that have pixels.

    Raises:
        UserError: the id map is of another size than the picture, or its segments' ids cannot be told apart.
    """
    if id_map.shape != size_hw:
        was = f"{id_map.shape[1]}x{id_map.shape[0]}"
        raise UserError(f"{picture.png} is {was}, the upright picture {size_hw[1]}x{size_hw[0]}")
    numbers = [entry["id"] for entry in picture.annotations]
    if any(type(number) is not int or not 0 < number < 1 << 24 for number in numbers):
        raise UserError("a segment's id is no whole number from 1 to 2^24 - 1")
    if len(set(numbers)) < len(numbers):
        raise UserError("two segments have the same id")
    present = set(np.unique(id_map).tolist()) - {0}
    segments, findings = [], []
    for entry in picture.annotations:
        if entry["category"] is None:
            findings.append(Finding("unknown_category", picture.file, f"segment {entry['id']}"))
        elif entry["id"] not in present:
            findings.append(Finding("not_in_png", picture.file, f"segment {entry['id']}"))
        else:
            crowd = entry["iscrowd"] in (1, True)
            segments.append(RawSegment(entry["id"], entry["category"], True, crowd))
    if unlisted := sorted(present - set(numbers)):
        findings.append(Finding("unlisted_ids", picture.file, _few(unlisted)))
    return segments, findings


def _few(numbers: list[Any]) -> str:
    shown = ", ".join(map(str, numbers[:MOST_LISTED]))
    return shown if len(numbers) <= MOST_LISTED else f"{shown} and {len(numbers) - MOST_LISTED} more"
