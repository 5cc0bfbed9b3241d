"""Annotations made on a picture as it lies in the file, turned the way that EXIF turns the picture."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image

from detr_hf.geometry import upright_xy


def orientation_of(image: Path) -> int:
    """The EXIF orientation of a readable picture, 1 to 8."""
    with Image.open(image) as picture:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))


def upright_box(box_xywh: list[float], orientation: int, stored_hw: tuple[int, int]) -> list[float]:
    """An xywh box of the stored picture in the upright one."""
    x, y, w, h = box_xywh
    ax, ay = upright_xy(x, y, orientation, stored_hw)
    bx, by = upright_xy(x + w, y + h, orientation, stored_hw)
    return [min(ax, bx), min(ay, by), abs(bx - ax), abs(by - ay)]
