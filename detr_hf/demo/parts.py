"""Parts that several things share: truck chassis, cabs, heaps, stacked profiles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from detr_hf.demo.canvas import Color, Corners, Point, Sketch, mix, shade, vary

DARK: Color = (46, 46, 50)
STEEL: Color = (128, 130, 132)
# A rounded end for `profile`: (place along the axis, share of the radius).
DOME = ((0.0, 1.0), (0.25, 0.95), (0.5, 0.84), (0.75, 0.64), (0.92, 0.4), (1.0, 0.25))


def cab(sketch: Sketch, rng: np.random.Generator, corners: Corners, color: Color) -> None:
    """A flat-nosed lorry cab with its front on the right."""
    x0, base, x1, top = corners
    wide, height, nose = x1 - x0, top - base, rng.uniform(0.02, 0.22) * (x1 - x0)
    sketch.poly(((x0, base), (x1, base), (x1, base + 0.5 * height), (x1 - nose, top), (x0, top)), color)
    sketch.rect(x0, base, x1, base + 0.22 * height, shade(color, 0.8))
    left, right = x0 + 0.2 * wide, x1 - 0.12 * wide
    low, high = base + 0.5 * height, base + 0.9 * height
    sketch.glass(((left, low), (right, low), (right - 0.7 * nose, high), (left, high)))
    sketch.rect(left, base + 0.34 * height, left + 0.16 * wide, base + 0.38 * height, shade(color, 0.55))
    sketch.rect(x1 - 0.14 * wide, base + 0.1 * height, x1, base + 0.24 * height, (236, 226, 190))
    sketch.rect(x0, base - 0.06 * height, x1 + 0.02, base + 0.06 * height, DARK)


def chassis(
    sketch: Sketch, x0: float, x1: float, base: float, wheels: tuple[float, ...], radius: float
) -> None:
    """A dark frame with its wheels; paint it after the bodywork, so that the tyres stand in front."""
    sketch.rect(x0, base - 0.16, x1, base + 0.06, DARK)
    for x in wheels:
        sketch.disc(x, radius + 0.08, radius * 1.16, radius * 1.12, (30, 30, 32))
    for x in wheels:
        sketch.wheel(x, radius, radius)


def _heap_outline(rng: np.random.Generator, width: float, height: float, peaks: int) -> np.ndarray:
    """A hill's outline, float64[N, 2], from the left foot to the right foot."""
    x = np.linspace(-1.0, 1.0, 25)
    power = rng.uniform(1.1, 1.7)
    profile = np.zeros_like(x)
    for number in range(peaks):
        center = 0.0 if peaks == 1 else (-0.4, 0.42)[number] + rng.uniform(-0.1, 0.1)
        tall = 1.0 if number == 0 else rng.uniform(0.6, 0.95)
        reach = (1.0 + center) * (x < center) + (1.0 - center) * (x >= center)
        profile = np.maximum(profile, tall * (1.0 - (np.abs(x - center) / reach) ** power))
    profile = profile * height * (1.0 + rng.uniform(-0.05, 0.05, len(x)))
    return np.stack([x * width / 2.0, np.maximum(profile, 0.0)], axis=1)


def heap(
    sketch: Sketch, rng: np.random.Generator, width: float, height: float, color: Color, at: Point
) -> None:
    """A pile of loose material with a lit flank, a shaded flank and lumps."""
    outline = _heap_outline(rng, width, height, 2 if rng.random() < 0.3 else 1)
    x, y = at
    sketch.poly(outline + at, color)
    top = outline[int(np.argmax(outline[:, 1]))]
    shadow_foot = rng.uniform(0.08, 0.3) * width
    right = outline[outline[:, 0] >= top[0]]
    sketch.poly(np.concatenate([right * (0.99, 0.97), [[shadow_foot, 0.0]]]) + at, shade(color, 0.78))
    left = outline[outline[:, 0] <= top[0]]
    inner = np.concatenate([left * (0.82, 0.94), [[-0.12 * width, 0.1 * height]]])
    sketch.poly(inner + at, shade(color, 1.1))
    for _ in range(14):
        lump_x = rng.uniform(-0.42, 0.42)
        lump_y = rng.uniform(0.02, 0.75) * (1.0 - 2.1 * abs(lump_x)) * height
        size = rng.uniform(0.012, 0.04) * width
        factor = rng.uniform(0.8, 1.18)
        sketch.disc(x + lump_x * width, y + max(lump_y, size), size, size * 0.5, shade(color, factor))


def profile(
    sketch: Sketch,
    axis: tuple[Point, Point],
    radii: Sequence[tuple[float, float]],
    color: Color,
    size: float = 1.0,
    bands: tuple[Color, float] | None = None,
) -> None:
    """A solid of revolution, shaded across, maybe with bands.

    Args:
        axis: its ends.
        radii: (place along the axis 0..1, radius) pairs; `size` times as large.
        bands: color and slant of a band in every second stretch of the axis.
    """
    low, high = np.asarray(axis, dtype=float)
    direction = high - low
    normal = np.array([-direction[1], direction[0]]) / np.hypot(*direction)
    normal = -normal if normal[1] < 0 else normal
    along = low + np.array([[at] for at, _ in radii]) * direction
    normals = normal * np.array([[r * size] for _, r in radii])
    edges = (-1.0, -0.62, -0.2, 0.22, 0.5, 0.76, 1.0)
    for (a, b), factor in zip(pairwise(edges), (0.55, 0.78, 0.98, 1.16, 1.3, 1.06), strict=True):
        sketch.poly(np.concatenate([along + normals * a, (along + normals * b)[::-1]]), shade(color, factor))
        if bands is None:
            continue
        for at in range(1, len(along) - 1, 2):
            both, step = slice(at, at + 2), (along[at + 1] - along[at]) * bands[1]
            near = along[both] + normals[both] * a + step * a
            far = along[both] + normals[both] * b + step * b
            sketch.poly(np.concatenate([near, far[::-1]]), shade(bands[0], factor))


def faded(rng: np.random.Generator, color: Color) -> Color:
    """A paint that has stood in the sun: varied and a little grayer."""
    return mix(vary(rng, color), (150, 146, 140), rng.uniform(0.0, 0.22))
