"""From the coordinates that a picture was annotated in to pixels of the upright picture."""

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


@dataclass(frozen=True)
class Frame:
    """The picture as its annotations see it.

    Attributes:
        drawn_hw: the size that coordinates refer to.
        upright_hw: the size of the upright picture.
        orientation: the EXIF orientation (1 to 8) by which coordinates are to be turned; 1 where they are
            upright already.
        problem: the kind of finding that the declared size gives reason to, or None.
    """

    drawn_hw: tuple[int, int]
    upright_hw: tuple[int, int]
    orientation: int = 1
    problem: str | None = None

    @property
    def is_identity(self) -> bool:
        return self.orientation == 1 and self.drawn_hw == self.upright_hw

    def points(self, points: Points) -> Points:
        """Points of the drawn picture in pixels of the upright one."""
        if self.is_identity:
            return points
        height, width = self.drawn_hw
        x, y = points.T
        turned = np.stack(upright_xy(x, y, self.orientation, (float(height), float(width))), axis=1)
        drawn = (height, width) if self.orientation not in SIDEWAYS else (width, height)
        return turned * np.array(self.upright_hw[::-1], float) / np.array(drawn[::-1], float)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the drawn picture as one of the upright picture, by the nearest pixel."""
        if self.is_identity:
            return mask
        turned = upright_array(mask, self.orientation)
        if turned.shape == self.upright_hw:
            return turned
        picture = Image.fromarray(turned.astype(np.uint8))
        return np.array(picture.resize(self.upright_hw[::-1], Image.Resampling.NEAREST), bool)


def frame_of(declared_hw: list[Any] | None, upright_hw: tuple[int, int], orientation: int) -> Frame:
    """What the coordinates of a picture refer to, told by the size that the annotations declare.

    The annotation tool wrote down the size of the picture that it showed. If that is the upright size, the
    tool had turned the picture, and the shapes fit. If it is the size before the EXIF rotation, the shapes
    are turned with the picture. If it has the proportions of one of the two at another scale, the picture was
    resized since, and the shapes are scaled. Any other size says nothing; the shapes are left as they are.
    """
    stored_hw = upright_hw[::-1] if orientation in SIDEWAYS else upright_hw
    if declared_hw is None:
        return Frame(upright_hw, upright_hw, problem="size_missing")
    if not all(_is_length(length) for length in declared_hw):
        return Frame(upright_hw, upright_hw, problem="size_wrong")
    declared = (int(declared_hw[0]), int(declared_hw[1]))
    if declared == upright_hw:
        return Frame(upright_hw, upright_hw)
    if declared == stored_hw:
        return Frame(stored_hw, upright_hw, orientation, "turned")
    if declared[0] * declared[1] <= MAX_PIXELS and min(declared) > 1:
        if _same_shape(declared, upright_hw):
            return Frame(declared, upright_hw, 1, "scaled")
        if _same_shape(declared, stored_hw):
            return Frame(declared, upright_hw, orientation, "turned")
    return Frame(upright_hw, upright_hw, problem="size_wrong")


def _is_length(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value > 0


def _same_shape(one_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
    ratio = (one_hw[0] * other_hw[1]) / (one_hw[1] * other_hw[0])
    return abs(ratio - 1) <= SAME_SHAPE
