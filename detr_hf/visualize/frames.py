"""Boxes over an image in a page (SVG): frames, and where their names stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detr_hf.visualize.boxes import at_corners
from detr_hf.visualize.canvas import Places, Rectangle

MARGIN = 0.06  # of an image, on all sides, where boxes show that reach out of it
LONGEST_NAME = 24  # letters
_LETTER_WIDTH, _LINE_HEIGHT = 0.58, 1.2  # of a usual font, in font sizes
_UNITS = 1000  # to which the longer edge is scaled, so that whole numbers are fine enough


@dataclass(frozen=True)
class Frame:
    """A box over an image: (left, top, width, height) in its pixels, what it frames, where that stands."""

    box: tuple[float, float, float, float]
    name: str
    where: str
    ink: str
    is_faint: bool = False  # thin and dashed, as stuff is, whose boxes often span the image


@dataclass(frozen=True)
class Drawing:
    """An image ``uint8 [H, W, 3]`` with frames, later ones on top; its longer edge is ``letters`` letters."""

    image: NDArray[np.uint8]
    frames: list[Frame]
    letters: int = 32

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def rim(self) -> tuple[float, float]:
        """The room around the image, across and down, in its own pixels."""
        return MARGIN * self.width, MARGIN * self.height

    @property
    def names(self) -> list[tuple[str, float, float, str]]:
        """Text, x and y of its baseline in pixels of the image, and ink; a name without room is left out."""
        scale, (left, top) = _UNITS / max(self.width, self.height), self.rim
        size_wh = round(scale * (self.width + 2 * left)), round(scale * (self.height + 2 * top))

        def scaled(frame: Frame) -> Rectangle:
            x, y, width, height = frame.box
            edges = (x + left, y + top, x + width + left, y + height + top)
            return tuple(round(scale * edge) for edge in edges)  # type: ignore[return-value]

        letter = _UNITS / self.letters
        places = Places(size_wh, [scaled(frame) for frame in self.frames if not frame.is_faint])
        placed = []
        topmost_first = self.frames[::-1]
        for frame in sorted(topmost_first, key=lambda one: one.is_faint):
            name = frame.name if len(frame.name) <= LONGEST_NAME else f"{frame.name[: LONGEST_NAME - 1]}…"
            width, height = round(_LETTER_WIDTH * letter * len(name)), round(_LINE_HEIGHT * letter)
            place = places.take(width, height, at_corners(scaled(frame))) if name else None
            if place is not None:
                baseline = place[3] - 0.25 * letter
                placed.append((name, place[0] / scale - left, baseline / scale - top, frame.ink))
        return placed
