"""What results are drawn on: an enlarged image, and tags that keep out of each other's way.

Lines and letters grow with the image, and small images are enlarged, so that names can be read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from detr_hf.errors import quantity
from detr_hf.labels import Color

Rectangle = tuple[int, int, int, int]
"""x min, y min, x max, y max in pixels, maxima exclusive."""

Place = tuple[int, int, float, float]
"""Where a tag may lie: a point (x, y), the shares of its width left of x and of its height above y."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)

_SMALLEST_EDGE = 400  # a shorter edge below this is enlarged by a whole factor,
_MOST_ENLARGED = 8  # but by no more than this
_MOST_COVERED = 0.2  # a tag is left out where the tags before it would cover more of it
_LITTLE_HIDDEN = 0.05  # a tag may hide such a share of an object before another place is looked for
_OTHER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")


def enlarged(image: NDArray[np.uint8]) -> tuple[Image.Image, int]:
    """The image as it is drawn on, and how many times larger that is."""
    canvas = Image.fromarray(np.asarray(image, np.uint8)).convert("RGB")
    factor = min(_MOST_ENLARGED, max(1, -(-_SMALLEST_EDGE // min(canvas.size))))
    size = (canvas.width * factor, canvas.height * factor)
    return (canvas if factor == 1 else canvas.resize(size, Image.Resampling.BICUBIC)), factor


def line_width(size_wh: tuple[int, int], count: int) -> int:
    """Pixels, for an image with so many objects on it."""
    across = (size_wh[0] * size_wh[1]) ** 0.5
    return max(1, round(across / (320 if count <= 40 else 480)))


class Places:
    """Rectangles on an image, such as tags, none of which hides much of an earlier one or of a thing."""

    def __init__(self, size_wh: tuple[int, int], things: Sequence[Rectangle] = ()) -> None:
        """``things`` are the boxes to keep off."""
        self._width, self._height = size_wh
        self._things = np.array(things, np.int64).reshape(-1, 4)
        self._covered = np.zeros((self._height, self._width), bool)

    def take(self, width: int, height: int, places: Iterable[Place]) -> Rectangle | None:
        """One of some places for a rectangle of this size; None where those taken before leave no room.

        Of the free places it is the one that hides least of any one thing, the first of equals.
        """
        shown = [self._moved_inside(x - width * a, y - height * b, width, height) for x, y, a, b in places]
        covered = [float(self._area(place).mean()) for place in shown]
        free = [i for i in range(len(shown)) if covered[i] <= _MOST_COVERED]
        if not free:
            return None
        best = shown[min(free, key=lambda i: covered[i] + self._hidden(shown[i]))]
        self._area(best)[:] = True
        return best

    def _moved_inside(self, left: float, top: float, width: int, height: int) -> Rectangle:
        x = int(min(max(0, left), max(0, self._width - width)))
        y = int(min(max(0, top), max(0, self._height - height)))
        return x, y, x + width, y + height

    def _area(self, place: Rectangle) -> np.ndarray:
        return self._covered[place[1] : place[3], place[0] : place[2]]

    def _hidden(self, place: Rectangle) -> float:
        """How much of the box of the thing that loses most a rectangle would cover, 0 to 1."""
        low, high = np.maximum(self._things[:, :2], place[:2]), np.minimum(self._things[:, 2:], place[2:])
        areas = (self._things[:, 2:] - self._things[:, :2]).prod(1).clip(1)
        most = float(((high - low).clip(0).prod(1) / areas).max(initial=0))
        return most if most > _LITTLE_HIDDEN else 0.0


class Captions:
    """Tags for one image, placed as they are added: the first get the best places."""

    def __init__(self, canvas: Image.Image, count: int, things: Sequence[Rectangle] = ()) -> None:
        """``count`` is how many tags to expect; many make the letters smaller. Tags keep off ``things``."""
        self._canvas = canvas
        self._places = Places(canvas.size, things)
        self._size = letter_size(canvas.size, count)
        self._placed: list[tuple[Rectangle, str, Color]] = []
        self._left_out = 0

    def add(self, name: str, score: float | None, color: Color, places: Iterable[Place]) -> None:
        """Put a tag at one of some places, see ``Places``; count it as left out where there is no room.

        A name longer than half the image is cut.
        """
        ending = "" if score is None else f" {score:.2f}"
        text = shortened(name, self._size, self._canvas.width // 2) + ending
        place = self._places.take(*_tag_size(text, font_for(text, self._size)), places)
        if place is None:
            self._left_out += 1
        else:
            self._placed.append((place, text, color))

    def draw(self) -> None:
        """Put the tags on the canvas, the first on top."""
        pen = ImageDraw.Draw(self._canvas, "RGBA")
        for place, text, color in reversed(self._placed):
            _draw_tag(pen, place, text, color, font_for(text, self._size))
        if self._left_out:
            text, font = f"{quantity(self._left_out, 'more name')}", font_for("", self._size)
            right, bottom = self._canvas.size
            width, height = _tag_size(text, font)
            _draw_tag(pen, (right - width, bottom - height, right, bottom), text, BLACK, font)


def letter_size(size_wh: tuple[int, int], count: int) -> int:
    """Font size in pixels for an image with this many names on it."""
    across = (size_wh[0] * size_wh[1]) ** 0.5
    crowd = 1.0 if count <= 15 else 0.85 if count <= 40 else 0.7
    return max(11, round(across / 38 * crowd))


def contrast_to(color: Color) -> Color:
    """Black or white, whichever reads better on a color (ITU-R BT.601 luma)."""
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, the same on every machine; another one for letters beyond ASCII, which it lacks."""
    return _font(size, text.isascii())


@lru_cache(maxsize=128)
def _font(size: int, only_ascii: bool) -> ImageFont.FreeTypeFont:
    for name in () if only_ascii else _OTHER_FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels are built with FreeType"
    return font


def shortened(text: str, size: int, width: int) -> str:
    """The text cut to ``width`` pixels, with three dots where something is missing."""
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    lengths = range(1, len(text) + 1)
    keep = bisect_right(lengths, width, key=lambda n: ceil(font.getlength(text[:n] + "...")))
    return text[:keep] + "..."


def _tag_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    pad = max(2, int(font.size) // 4)
    return int(np.ceil(font.getlength(text))) + 2 * pad, sum(font.getmetrics()) + pad // 2


def _draw_tag(
    pen: ImageDraw.ImageDraw, place: Rectangle, text: str, color: Color, font: ImageFont.FreeTypeFont
) -> None:
    left, top, right, bottom = place
    pen.rounded_rectangle((left, top, right - 1, bottom - 1), max(2, int(font.size) // 5), fill=(*color, 225))
    pen.text(((left + right) / 2, (top + bottom) / 2), text, fill=contrast_to(color), font=font, anchor="mm")
