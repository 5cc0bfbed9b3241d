"""Sample images for the report: a few of each class with their outlines, to see at a glance what is off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from detr_hf.data.records import Record
from detr_hf.data.sample import Annotation
from detr_hf.images import decode_id_map, decode_image
from detr_hf.labels import LabelMap

TILE = (320, 240)
GAP = 6
OTHERS = (150, 150, 150)  # outlines of other classes
TINT = 0.5


def sample_sheet(root: Path, records: Sequence[Record], name: str, labels: LabelMap) -> Image.Image:
    """The records side by side, objects of class ``name`` in its color, others gray."""
    sheet = Image.new("RGB", (len(records) * (TILE[0] + GAP) + GAP, TILE[1] + 2 * GAP), "white")
    for at, record in enumerate(records):
        tile = _drawn(root, record, name, labels.color(labels.label2id[name]))
        left = GAP + at * (TILE[0] + GAP) + (TILE[0] - tile.width) // 2
        sheet.paste(tile, (left, GAP + (TILE[1] - tile.height) // 2))
    return sheet


def _drawn(root: Path, record: Record, name: str, color: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(decode_image(root / record.image, record.file_name))
    height, width = record.size_hw
    scale = min(TILE[0] / width, TILE[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tile = image.resize(size, Image.Resampling.BOX)
    if record.id_map is not None:
        id_map = decode_id_map(root / record.id_map)
        ids = [segment.id for segment in record.objects if segment.category == name]
        return _tinted(tile, np.isin(id_map, ids), color)
    for found in sorted(record.objects, key=lambda found: found.category == name):
        shade = color if found.category == name else OTHERS
        tile = _with_object(tile, found, scale, shade)
    return tile


def _with_object(
    tile: Image.Image, found: Annotation, scale: float, color: tuple[int, int, int]
) -> Image.Image:
    if isinstance(found.segmentation, dict):
        return _tinted(tile, coco_mask.decode(found.segmentation).astype(bool), color)
    draw = ImageDraw.Draw(tile)
    for part in found.segmentation or ():
        draw.polygon([value * scale for value in part], outline=color, width=2)
    if not found.segmentation:
        x, y, w, h = (value * scale for value in found.bbox)
        draw.rectangle([x, y, max(x, x + w - 1), max(y, y + h - 1)], outline=color, width=2)
    return tile


def _tinted(tile: Image.Image, mask: NDArray[np.bool_], color: tuple[int, int, int]) -> Image.Image:
    small = Image.fromarray(mask.astype(np.uint8) * round(255 * TINT)).resize(
        tile.size, Image.Resampling.NEAREST
    )
    return Image.composite(Image.new("RGB", tile.size, color), tile, small)
