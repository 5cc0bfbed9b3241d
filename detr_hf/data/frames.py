"""From the coordinates that an image was annotated in to pixels of the upright image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.outlines import Points
from detr_hf.geometry import upright_array, upright_xy
from detr_hf.images import MAX_PIXELS

SIDEWAYS = (5, 6, 7, 8)
SAME_SHAPE = 0.02  # relative difference of two aspect ratios that rounding of sizes explains
ROUNDING_PX = 2  # sides that differ by no more are one size: tools round differently


@dataclass(frozen=True)
class Frame:
    """The image as its annotations see it."""

    drawn_hw: tuple[int, int]  # the size that coordinates refer to
    upright_hw: tuple[int, int]  # the size of the upright image
    # the EXIF orientation (1 to 8) by which coordinates are to be turned; 1 where they are upright already
    orientation: int = 1
    # code of the issue that the declared size gives reason to; None where it is the file's
    issue: str | None = None

    @property
    def is_identity(self) -> bool:
        return self.orientation == 1 and self.drawn_hw == self.upright_hw

    def points(self, points: Points) -> Points:
        """Points float64 [N, 2] of the drawn image, x and y, in pixels of the upright one."""
        if self.is_identity:
            return points
        height, width = self.drawn_hw
        x, y = points.T
        turned = np.stack(upright_xy(x, y, self.orientation, (float(height), float(width))), axis=1)
        drawn = (height, width) if self.orientation not in SIDEWAYS else (width, height)
        return turned * np.array(self.upright_hw[::-1], float) / np.array(drawn[::-1], float)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the drawn image as one of the upright image, by the nearest pixel."""
        if self.is_identity:
            return mask
        turned = upright_array(mask, self.orientation)
        if turned.shape == self.upright_hw:
            return turned
        image = Image.fromarray(turned.astype(np.uint8))
        return np.array(image.resize(self.upright_hw[::-1], Image.Resampling.NEAREST), bool)


def frame_of(declared_hw: tuple[Any, Any] | None, upright_hw: tuple[int, int], orientation: int) -> Frame:
    """What the coordinates of an image refer to, by the size that the annotations declare.

    The annotation tool wrote down the size of the image that it showed. If that is the upright size, the tool
    had turned the image, and the shapes fit. If it is the size before the EXIF rotation, the shapes are to be
    turned with the image. If it has the proportions of one of the two at another scale, the image was resized
    since, and the shapes are to be scaled. Any other size says nothing; the shapes are left as they are.
    """
    if declared_hw is None:
        return Frame(upright_hw, upright_hw)
    if not all(map(_is_length, declared_hw)):
        return Frame(upright_hw, upright_hw, issue="size-missing")
    declared = (int(declared_hw[0]), int(declared_hw[1]))
    if declared == upright_hw:
        return Frame(upright_hw, upright_hw)
    stored_hw = upright_hw[::-1] if orientation in SIDEWAYS else upright_hw
    if declared == stored_hw:
        return Frame(stored_hw, upright_hw, orientation, "exif-boxes")
    if declared[0] * declared[1] <= MAX_PIXELS and min(declared) > 1:
        if max(abs(declared[0] - upright_hw[0]), abs(declared[1] - upright_hw[1])) <= ROUNDING_PX:
            return Frame(upright_hw, upright_hw, issue="size-differs")
        if is_same_shape(declared, upright_hw):
            return Frame(declared, upright_hw, 1, "size-scaled")
        if is_same_shape(declared, stored_hw):
            return Frame(declared, upright_hw, orientation, "exif-boxes")
    return Frame(upright_hw, upright_hw, issue="size-differs")


def _is_length(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value > 0


def is_same_shape(one_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
    """Whether two sizes have the same proportions, but for rounding."""
    ratio = (one_hw[0] * other_hw[1]) / (one_hw[1] * other_hw[0])
    return abs(ratio - 1) <= SAME_SHAPE
