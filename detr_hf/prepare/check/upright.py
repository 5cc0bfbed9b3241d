"""Annotations made on a picture as it lies in the file, turned the way that EXIF turns the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Point = tuple[float, float]


def orientation_of(image: Path) -> int:
    """The EXIF orientation of a readable picture, 1 to 8."""
    with Image.open(image) as picture:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))


def upright_point(x: float, y: float, orientation: int, stored_hw: tuple[int, int]) -> Point:
    """Where a point of the stored picture lies in the upright one, in pixels from the left top corner."""
    height, width = stored_hw
    moved: dict[int, Point] = {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }
    return moved.get(orientation, (x, y))


def upright_box(box_xywh: list[float], orientation: int, stored_hw: tuple[int, int]) -> list[float]:
    """An xywh box of the stored picture in the upright one."""
    x, y, w, h = box_xywh
    ax, ay = upright_point(x, y, orientation, stored_hw)
    bx, by = upright_point(x + w, y + h, orientation, stored_hw)
    return [min(ax, bx), min(ay, by), abs(bx - ax), abs(by - ay)]


def upright_map(id_map: NDArray[np.int32], orientation: int) -> NDArray[np.int32]:
    """An id map of the stored picture in the upright one."""
    turned = {
        2: lambda m: m[:, ::-1],
        3: lambda m: m[::-1, ::-1],
        4: lambda m: m[::-1],
        5: lambda m: m.T,
        6: lambda m: np.rot90(m, -1),
        7: lambda m: m[::-1, ::-1].T,
        8: lambda m: np.rot90(m),
    }
    return np.ascontiguousarray(turned[orientation](id_map)) if orientation in turned else id_map
