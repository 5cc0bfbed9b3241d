"""Vector sketches and the canvas they are painted on.

A `Sketch` is a list of colored polygons in free units (x right, y UP, the ground at y = 0); it knows its
exact bounds before anything is painted, so a scene can be planned first. The canvas is a uint8 array of four
channels at twice the final size: RGB and, in the fourth, the id of the segment. One `cv2.fillPoly` therefore
paints color and label together, and the two can never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Color = tuple[float, ...]  # red, green, blue: 0 to 255
Point = tuple[float, float] | np.ndarray
Points = Sequence[Point] | np.ndarray
Edge = tuple[float, float, float]  # x from, x to, y
Corners = tuple[float, float, float, float]  # x and y of the lower left, x and y of the upper right

SUPERSAMPLING = 2
_SHIFT_BITS = 3  # cv2 fixed-point coordinates: eighths of a pixel
_ROUND = np.linspace(0.0, 2.0 * np.pi, 18, endpoint=False)
_UNIT_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)
# Brightness and share of the width of the strips across a tube.
_TUBE = ((0.62, 0.16), (0.9, 0.16), (1.12, 0.16), (1.28, 0.12), (1.02, 0.16), (0.78, 0.14), (0.55, 0.10))


def shade(color: Color, factor: float) -> Color:
    """The color made brighter or darker by a factor; at most 255."""
    return tuple(min(255.0, channel * factor) for channel in color)


def mix(first: Color, second: Color, share: float) -> Color:
    """`share` of the second color in the first one (0 to 1)."""
    return tuple(a * (1.0 - share) + b * share for a, b in zip(first, second, strict=True))


def vary(rng: np.random.Generator, color: Color, spread: float = 14.0) -> Color:
    """A plausible neighbor of a color: common brightness change plus a smaller one per channel."""
    common = rng.uniform(-spread, spread)
    return tuple(min(250.0, max(6.0, c + common + rng.uniform(-0.4, 0.4) * spread)) for c in color)


def pick(rng: np.random.Generator, colors: Sequence[Color], spread: float = 14.0) -> Color:
    """One of the colors, varied."""
    return vary(rng, colors[int(rng.random() * len(colors))], spread)


class Sketch:
    """Colored polygons in painting order; later ones cover earlier ones."""

    def __init__(self) -> None:
        self._polygons: list[np.ndarray] = []
        self._colors: list[Color] = []

    def poly(self, points: Points, color: Color) -> None:
        self._polygons.append(np.asarray(points, dtype=np.float64))
        self._colors.append(color)

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        self.poly(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color)

    def disc(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        self.poly(_UNIT_CIRCLE * (rx, ry) + (x, y), color)

    def bar(self, start: Point, end: Point, width: float, color: Color) -> None:
        """A straight beam with square ends."""
        self.poly(_beam(start, end, -width / 2, width / 2), color)

    def tube(self, start: Point, end: Point, radius: float, color: Color) -> None:
        """A round beam: strips along the axis, lit from above (or from the left where it stands upright)."""
        side = -radius if end[0] - start[0] < -1e-9 else radius
        offset = -side
        for factor, share in _TUBE:
            following = offset + 2.0 * side * share
            self.poly(_beam(start, end, offset, following), shade(color, factor))
            offset = following

    def wheel(self, x: float, y: float, radius: float, hub: Color = (150, 150, 148)) -> None:
        self.disc(x, y, radius, radius, (34, 33, 34))
        self.disc(x, y, radius * 0.84, radius * 0.84, (52, 51, 52))
        self.disc(x, y, radius * 0.56, radius * 0.56, shade(hub, 0.7))
        self.disc(x - radius * 0.04, y + radius * 0.05, radius * 0.46, radius * 0.46, hub)
        self.disc(x, y, radius * 0.16, radius * 0.16, shade(hub, 0.5))

    def trapezoid(self, foot: Edge, top: Edge, color: Color) -> None:
        """A shape between two level edges, each (x from, x to, y)."""
        (x0, x1, y0), (x2, x3, y1) = foot, top
        self.poly(((x0, y0), (x1, y0), (x3, y1), (x2, y1)), color)

    def box(self, corners: Corners, color: Color, depth: float = 0.0, lift: float = 0.0) -> None:
        """A box seen from the front with its right side (`depth` wide) and its top (`lift` high)."""
        x0, y0, x1, y1 = corners
        if depth:
            side = ((x1, y0), (x1 + depth, y0 + lift), (x1 + depth, y1 + lift), (x1, y1))
            self.poly(side, shade(color, 0.68))
            self.trapezoid((x0, x1, y1), (x0 + depth, x1 + depth, y1 + lift), shade(color, 1.16))
        self.rect(x0, y0, x1, y1, shade(color, 0.92))
        self.rect(x0, y0 + 0.45 * (y1 - y0), x1, y1, color)

    def glass(self, points: Points, tint: Color = (74, 92, 106)) -> None:
        """A dark pane with a bright slanted reflection."""
        corners = np.asarray(points, dtype=np.float64)
        self.poly(corners, tint)
        low, high = corners.min(axis=0), corners.max(axis=0)
        at = low + (high - low) * np.array([[0.18, 0.1], [0.40, 0.1], [0.66, 0.9], [0.44, 0.9]])
        if len(corners) == 4:
            self.poly(at * 0.9 + corners.mean(axis=0) * 0.1, mix(tint, (205, 220, 230), 0.45))

    def turned(self, degrees: float, about: tuple[float, float], start: int) -> None:
        """Turn all polygons from number `start` on about a point (counter-clockwise, y up)."""
        angle = np.deg2rad(degrees)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for number in range(start, len(self._polygons)):
            self._polygons[number] = (self._polygons[number] - about) @ matrix + about

    def __len__(self) -> int:
        return len(self._polygons)

    def moved(self, matrix: np.ndarray) -> PlacedSketch:
        """The sketch under a 2x2 matrix (applied to row vectors)."""
        lengths = [len(polygon) for polygon in self._polygons]
        return PlacedSketch(np.concatenate(self._polygons) @ matrix, lengths, np.asarray(self._colors))


class PlacedSketch:
    """A sketch in canvas pixels (y DOWN), with its lowest point at y = 0 and its middle at x = 0."""

    def __init__(self, points: np.ndarray, lengths: list[int], colors: np.ndarray) -> None:
        low, high = points.min(axis=0), points.max(axis=0)
        self._points = points - ((low[0] + high[0]) / 2.0, high[1])
        self._lengths = lengths
        self._colors = colors
        self.width = float(high[0] - low[0])
        self.height = float(high[1] - low[1])

    def grow(self, scale: float) -> None:
        """Scale about the middle of the foot."""
        self._points *= scale
        self.width *= scale
        self.height *= scale

    def fade(self, haze: Color, share: float) -> None:
        """Mix the haze into all colors (0 to 1)."""
        self._colors = self._colors * (1.0 - share) + np.asarray(haze) * share

    def paint(self, canvas: np.ndarray, x: float, y: float, segment: int) -> None:
        """Paint with the middle of the foot at canvas pixel (x, y), labeled with the segment id."""
        fixed = np.rint((self._points + np.array((x, y))) * (1 << _SHIFT_BITS)).astype(np.int32)
        start = 0
        for length, color in zip(self._lengths, self._colors.tolist(), strict=True):
            polygon = fixed[start : start + length]
            cv2.fillPoly(canvas, [polygon], (*color, segment), cv2.LINE_8, _SHIFT_BITS)
            start += length


def _beam(start: Point, end: Point, from_offset: float, to_offset: float) -> np.ndarray:
    """The strip along an axis between two distances from it; positive ones lie to the left."""
    ends = np.array((start, end), dtype=np.float64)
    dx, dy = ends[1] - ends[0]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    normal = np.array((-dy / length, dx / length))
    return np.concatenate([ends + normal * from_offset, ends[::-1] + normal * to_offset])


_TILE = 1024


@lru_cache(maxsize=1)
def _noise_tiles() -> dict[str, np.ndarray]:
    """Fixed noise, float32[1024, 1024], about -1..1: `fine` grain, `coarse` patches, `cloud` (large, smooth).

    Rounded to 1/256, so that the last bit of a machine's resampling does not reach the images.
    """
    rng = np.random.default_rng(20240917)
    fine = rng.standard_normal((_TILE, _TILE)).astype(np.float32) * 0.5
    grain = 0.5 * fine + 0.9 * cv2.blur(fine, (2, 2))
    grown = {}
    for cells in (8, 16, 32, 64, 128, 256):
        octave = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        grown[cells] = cv2.resize(octave, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    coarse = 0.55 * grown[64] + 0.45 * grown[128] + 0.35 * grown[256]
    cloud = 0.6 * grown[8] + 0.5 * grown[16] + 0.3 * grown[32] + 0.16 * grown[64] + 0.1 * grown[128]
    tiles = {"fine": fine, "grain": grain, "coarse": coarse, "cloud": cloud}
    return {name: np.rint(tile * 256.0) / np.float32(256.0) for name, tile in tiles.items()}


def noise(rng: np.random.Generator, kind: str, size_hw: tuple[int, int]) -> np.ndarray:
    """A crop of the fixed noise at a random place, float32[H, W]; sizes above the tile repeat it."""
    tile = _noise_tiles()[kind]
    height, width = size_hw
    if height > _TILE or width > _TILE:
        tile = np.tile(tile, (height // _TILE + 2, width // _TILE + 2))
    y = int(rng.random() * (tile.shape[0] - height + 1))
    x = int(rng.random() * (tile.shape[1] - width + 1))
    return tile[y : y + height, x : x + width]
