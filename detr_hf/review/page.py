"""The page of a review: a crop for every suspicion, with what is annotated and what is seen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from detr_hf.errors import UserError, quantity
from detr_hf.files import write_text
from detr_hf.images import decode_image
from detr_hf.review.parts import Part
from detr_hf.review.rows import TITLES, Box, Row
from detr_hf.review.suspicions import MISSING
from detr_hf.templating import render_html
from detr_hf.visualize.frames import Drawing, Frame
from detr_hf.visualize.panoptic import painted

ANNOTATED, SEEN, OTHER = "#2f6fde", "#d55e00", "#8a93a3"
ANNOTATED_INK, SEEN_INK = (0x2F, 0x6F, 0xDE), (0xD5, 0x5E, 0x00)
AROUND = 0.5  # room around what is shown, in shares of its longer side
LEAST_SIDE = 48  # pixels of a crop


def write_page(
    parts: Sequence[Part], rows: Sequence[Row], shown: int, notes: Sequence[str], path: Path
) -> Path:
    """Write the page.

    Args:
        parts: that were reviewed.
        rows: all suspicions, ranked.
        shown: how many of the first are drawn.
        notes: what a reader must know of the ranking.
        path: of the page; its links to images are relative to it.

    Raises:
        UserError: it cannot be written.
    """
    by_name = {part.name: part for part in parts}
    drawn = rows[:shown]
    counts, shown_counts = Counter(row.kind for row in rows), Counter(row.kind for row in drawn)
    images, objects = (
        sum(len(part.evidence) for part in parts),
        sum(len(one.truth_labels) for part in parts for one in part.evidence),
    )
    page = render_html(
        "review.html",
        name=path.parent.name if len(parts) > 1 else parts[0].name,
        lead=f"{quantity(images, 'image')} with {quantity(objects, 'annotation')}: "
        f"{quantity(len(rows), 'suspicion')}. Nothing has been changed.",
        notes=notes,
        kinds=[[kind, title, counts[kind], shown_counts[kind]] for kind, title in TITLES.items()],
        inks={"annotated": ANNOTATED, "seen": SEEN, "other": OTHER},
        has_masks=any(row.seen_mask for row in drawn),
        figures=[_figure(row, by_name[row.part], path.parent) for row in drawn],
    )
    return write_text(path, page)


def _figure(row: Row, part: Part, folder: Path) -> tuple[Row, Drawing | None, str | None]:
    """The row, its crop, and the address of its image where that is a file."""
    stored = part.truth.row(row.image_id)
    file = stored["image"].get("path") if isinstance(stored["image"], dict) else stored["image"]
    link = None
    if file and Path(file).is_file():
        link = quote(Path(os.path.relpath(file, folder)).as_posix())
    try:
        return row, _crop(row, part, stored), link
    except UserError:
        return row, None, link


def _crop(row: Row, part: Part, stored: dict[str, Any]) -> Drawing:
    pixels = decode_image(stored["image"], row.file_name)
    if row.seen_mask is not None:
        pixels = _with_masks(pixels, row, part)
    height, width = pixels.shape[:2]
    boxes = np.array([box for box in (row.box, row.seen_box, row.other_box) if box is not None])
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    room = max(LEAST_SIDE, AROUND * float((high - low).max())) / 2
    left, top = np.clip(np.floor(low - room), 0, (width - 1, height - 1)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + room), (left + 1, top + 1), (width, height)).astype(int).tolist()
    crop = np.ascontiguousarray(pixels[top:bottom, left:right])
    frames = list(_frames(row, stored["objects"], part))
    here = (right - left, bottom - top)
    kept = [cut for one in frames if (cut := _cut(one, (left, top), here)) is not None]
    return Drawing(crop, kept, letters=18)


def _frames(row: Row, objects: dict[str, list[Any]], part: Part) -> Iterator[Frame]:
    """Other annotations first, without names; what the model sees last, on top. In pixels of the image."""
    for number, box, label in zip(objects["id"], objects["bbox"], objects["category"], strict=True):
        if number != row.annotation_id and number != row.other_id and part.labels.is_thing(label):
            where = f"{part.labels.names[label]}, annotation {number}"
            yield Frame(_as_tuple(box), "", where, OTHER)
    if row.other_box is not None:
        yield Frame(_as_tuple(row.other_box), row.label, f"annotation {row.other_id}", ANNOTATED)
    if row.kind != MISSING:
        yield Frame(_as_tuple(row.box), row.label, f"annotation {row.annotation_id}", ANNOTATED)
    if row.seen_box is not None:
        name = f"{row.seen_label} {row.seen_score:.2f}"
        yield Frame(_as_tuple(row.seen_box), name, "seen by the model", SEEN)


def _as_tuple(box: Box) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, box)
    return x, y, w, h


def _cut(frame: Frame, corner: tuple[int, int], size_wh: tuple[int, int]) -> Frame | None:
    """The frame in pixels of a crop; None where it lies outside."""
    x, y, w, h = frame.box
    left, top = max(0.0, x - corner[0]), max(0.0, y - corner[1])
    right, bottom = min(size_wh[0], x + w - corner[0]), min(size_wh[1], y + h - corner[1])
    if right <= left or bottom <= top:
        return None
    return replace(frame, box=(left, top, right - left, bottom - top))


def _with_masks(pixels: NDArray[np.uint8], row: Row, part: Part) -> NDArray[np.uint8]:
    """Where only one of the annotation's and the model's masks is, in the color of its box."""
    assert row.seen_mask is not None
    seen = coco_mask.decode(row.seen_mask).astype(np.int64)
    annotated = np.zeros_like(seen)
    if row.annotation_id is not None:
        annotated = (part.truth.panoptic(row.image_id)["id_map"] == row.annotation_id).astype(np.int64)
    which = annotated + 2 * seen
    return np.asarray(painted(Image.fromarray(pixels), which, {1: ANNOTATED_INK, 2: SEEN_INK}))
