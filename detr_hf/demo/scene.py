"""One scene of a world: plan the things, paint them back to front, add light and camera."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from detr_hf.demo.canvas import SUPERSAMPLING, PlacedSketch, Sketch, noise
from detr_hf.demo.stuff import SKY, STUFF_GRAIN, STUFF_ROLES, Backdrop, paint_backdrop, shadow
from detr_hf.demo.worlds import YARD, Thing, World

MIN_THING_SHARE = 0.0022  # of the image's pixels; what would show less is left out of the scene
MIN_STUFF_SHARE = 0.004  # rarer stuff becomes void
_FIRST_THING = len(STUFF_ROLES) + 1
_MIN_SIDE_PX = 14.0 * SUPERSAMPLING  # shorter side of the smallest things, canvas pixels
_MAX_HIDDEN = 0.33  # share of a box that a nearer thing's box may cover


@dataclass(frozen=True)
class Scene:
    """image uint8[H, W, 3]; id_map int32[H, W], 0 = void; segments: id, category (name), is_thing."""

    image: np.ndarray
    id_map: np.ndarray
    segments: list[dict[str, Any]]


@dataclass(frozen=True)
class Placed:
    """A thing with its place; canvas pixels, (x, y) is the middle of its foot."""

    thing: Thing
    sketch: PlacedSketch
    x: float
    y: float
    flies: bool
    gradient: tuple[float, float]

    def box(self) -> tuple[float, float, float, float]:
        half = self.sketch.width / 2.0
        return self.x - half, self.y - self.sketch.height, self.x + half, self.y


def draw_scene(
    seed: int,
    index: int,
    size_hw: tuple[int, int] = (240, 320),
    things: Collection[str] | None = None,
    world: World = YARD,
) -> Scene:
    """Draw scene number `index`; the same arguments give the same scene on every machine.

    Every pixel that is not void belongs to one listed segment; each class of stuff has at most one segment.
    Only `things` of the world appear, where they are given by name.
    """
    if things is not None:
        world = replace(world, things=tuple(thing for thing in world.things if thing.name in things))
    key = [zlib.crc32(world.name.encode()), seed, index, *size_hw]
    rng = np.random.default_rng(key)
    height, width = size_hw
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), dtype=np.uint8)
    backdrop = paint_backdrop(canvas, rng)
    placed = plan(world, rng, backdrop, canvas.shape[:2])
    return shoot(world, canvas, placed, backdrop, rng)


def shoot(
    world: World, canvas: np.ndarray, placed: list[Placed], backdrop: Backdrop, rng: np.random.Generator
) -> Scene:
    """Paint the things over a backdrop, then add light and camera; what would hardly show is left out.

    Args:
        world: names the classes.
        canvas: the painted backdrop, uint8[H, W, 4] at the size of painting; painted over.
        placed: far things first.
        backdrop: of the canvas.
        rng: of the light and the camera.
    """
    height, width = (side // SUPERSAMPLING for side in canvas.shape[:2])
    bare = canvas.copy()
    needed = MIN_THING_SHARE * height * width / (1 if world.scale == 1 else (2 * world.scale) ** 2)
    while True:
        _paint_things(canvas, placed)
        ids = canvas[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING, 3]
        counts = np.bincount(ids.ravel(), minlength=_FIRST_THING + len(placed))
        seen = [thing for number, thing in enumerate(placed) if counts[_FIRST_THING + number] >= needed]
        if len(seen) == len(placed):
            break
        placed = seen
        np.copyto(canvas, bare)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    image = _add_light_and_camera(small, ids, placed, backdrop, rng)
    return _label(world, image, ids, placed, counts)


def plan(
    world: World, rng: np.random.Generator, backdrop: Backdrop, canvas_hw: tuple[int, int]
) -> list[Placed]:
    """Choose and place the things, far ones first."""
    count = world.scale * int(rng.choice((2, 3, 4, 5, 6, 7), p=(0.14, 0.24, 0.24, 0.18, 0.12, 0.08)))
    chosen: list[Placed] = []
    for _ in range(count):
        thing = world.things[int(rng.random() * len(world.things))]
        candidate = _sketch_thing(thing, rng, backdrop, canvas_hw)
        for _ in range(8):
            candidate = replace(candidate, x=_somewhere(candidate.sketch, rng, canvas_hw[1]))
            if all(_leaves_visible(candidate, other) for other in chosen):
                chosen.append(candidate)
                break
    return sorted(chosen, key=lambda item: item.y)


def _sketch_thing(
    thing: Thing, rng: np.random.Generator, backdrop: Backdrop, canvas_hw: tuple[int, int]
) -> Placed:
    """One specimen, sized for its distance; it stands in the middle until it gets its place."""
    height, width = canvas_hw
    sketch = Sketch()
    thing.paint(sketch, rng)
    nearness = rng.uniform(0.04, 1.0)
    flies = thing.flies and rng.random() < 0.6
    share = rng.uniform(*thing.size) * (0.5 + 0.5 * (0.5 if flies else nearness))
    turn = np.deg2rad(rng.normal(0.0, 9.0 if flies else 1.5))
    cos, sin, shear = np.cos(turn), np.sin(turn), rng.normal(0.0, 0.03)
    across = rng.uniform(0.92, 1.08) * (-1.0 if rng.random() < 0.5 else 1.0)
    grown = sketch.moved(np.array([[across * cos, across * sin], [sin + shear, -cos]]))
    scale = share * (height * width) ** 0.5 / (grown.width * grown.height) ** 0.5
    scale = min(scale, 0.66 * width / grown.width, 0.8 * height / grown.height)
    grown.grow(max(scale, _MIN_SIDE_PX / min(grown.width, grown.height)))
    grown.fade(backdrop.haze, 0.3 * (1.0 - nearness) ** 1.5)
    foot = backdrop.horizon + (0.04 + 0.9 * nearness) * (height - backdrop.horizon)
    y = rng.uniform(0.5, 0.95) * backdrop.horizon if flies else max(foot, 0.04 * height + grown.height)
    gradient = (float(rng.uniform(0.04, 0.2)), float(rng.uniform(-0.12, 0.12)))
    return Placed(thing, grown, width / 2.0, float(min(y, 0.995 * height)), flies, gradient)


def _somewhere(sketch: PlacedSketch, rng: np.random.Generator, width: int) -> float:
    """A place along the row; up to an eighth of the thing may lie outside the image."""
    margin = 0.37 * sketch.width
    return float(rng.uniform(margin, max(width - margin, margin + 1.0)))


def _leaves_visible(first: Placed, second: Placed) -> bool:
    """Whether the nearer of two things leaves most of the farther one's box open."""
    a, b = first.box(), second.box()
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return True
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return wide * tall <= _MAX_HIDDEN * smaller


def _paint_things(canvas: np.ndarray, placed: list[Placed]) -> None:
    for number, item in enumerate(placed):
        if not item.flies:
            half = item.sketch.width / 2.0
            axes = (1.06 * half, 0.07 * half + 0.05 * item.sketch.height)
            shadow(canvas, (item.x + 0.08 * half, item.y), axes, 0.5)
        item.sketch.paint(canvas, item.x, item.y, _FIRST_THING + number)


def _add_light_and_camera(
    image: np.ndarray, ids: np.ndarray, placed: list[Placed], backdrop: Backdrop, rng: np.random.Generator
) -> np.ndarray:
    """Texture, clouds, shading, and the camera: exposure, tint, contrast, blur, vignette, sensor noise."""
    size_hw = ids.shape
    grains = np.zeros((2, _FIRST_THING + len(placed)), dtype=np.float32)
    for role, strengths in STUFF_GRAIN.items():
        grains[:, role] = strengths
    for number, item in enumerate(placed):
        grains[:, _FIRST_THING + number] = item.thing.grain
    gain = grains[0][ids] * noise(rng, "grain", size_hw)
    gain += grains[1][ids] * noise(rng, "coarse", size_hw)
    gain += 1.0
    for number, item in enumerate(placed):
        _shade_thing(gain, ids, item, _FIRST_THING + number)
    planes = np.array(
        cv2.split(image)[:3], dtype=np.float32
    )  # [3, H, W]: broadcasting over rows is the fast way
    _add_clouds(planes, ids, backdrop, rng)
    exposure, warmth = rng.uniform(0.82, 1.16), rng.uniform(-0.07, 0.08)
    contrast = rng.uniform(0.86, 1.14)
    gain *= _vignette(size_hw, rng)
    for plane, tint in zip(planes, (1.0 + warmth, 1.0, 1.0 - warmth), strict=True):
        plane *= gain
        plane *= np.float32(exposure * tint * contrast)
        plane += np.float32(118.0 * (1.0 - contrast))
    lit = cv2.merge(list(np.clip(planes, 0.0, 255.0, out=planes).astype(np.uint8)))
    if rng.random() < 0.5:  # on bytes: cv2 blurs these in integers, alike on every machine
        lit = cv2.GaussianBlur(lit, (3, 3), float(rng.uniform(0.4, 0.8)))
    sensor = np.rint(noise(rng, "fine", size_hw) * np.float32(rng.uniform(1.5, 9.0))).astype(np.int16)
    return np.clip(lit + cv2.merge([sensor] * 3), 0, 255).astype(np.uint8)


def _shade_thing(gain: np.ndarray, ids: np.ndarray, item: Placed, segment: int) -> None:
    """Brighter at the top, darker at the foot, and a little from side to side."""
    x0, y0, x1, y1 = (int(edge / SUPERSAMPLING) for edge in item.box())
    rows, columns = slice(max(y0, 0), y1 + 1), slice(max(x0, 0), x1 + 1)
    region, mine = gain[rows, columns], ids[rows, columns] == segment
    down = np.linspace(item.gradient[0], -item.gradient[0], region.shape[0], dtype=np.float32)
    across = np.linspace(-item.gradient[1], item.gradient[1], region.shape[1], dtype=np.float32)
    region += mine * (down[:, None] + across[None, :])


def _add_clouds(planes: np.ndarray, ids: np.ndarray, backdrop: Backdrop, rng: np.random.Generator) -> None:
    rows = backdrop.horizon // SUPERSAMPLING
    cover = noise(rng, "cloud", (rows, ids.shape[1])) * np.float32(1.5)
    cover = np.clip(cover + np.float32(0.9 * backdrop.cloudiness - 0.4), 0.0, 0.85) * (ids[:rows] == SKY)
    white = np.float32(240.0 * rng.uniform(0.84, 1.03))
    for plane in planes[:, :rows]:
        plane += (white - plane) * cover


def _vignette(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    strength = rng.uniform(0.0, 0.22)
    down = np.linspace(-1.0, 1.0, size_hw[0], dtype=np.float32) ** 2
    across = np.linspace(-1.0, 1.0, size_hw[1], dtype=np.float32) ** 2
    return 1.0 - np.float32(strength) * (0.5 * down[:, None] + 0.5 * across[None, :])


def _label(
    world: World, image: np.ndarray, ids: np.ndarray, placed: list[Placed], counts: np.ndarray
) -> Scene:
    """Number the segments that are really there 1..n; stuff that hardly shows becomes void."""
    renumber = np.zeros(len(counts), dtype=np.int32)
    segments: list[dict[str, Any]] = []
    found = [(STUFF_ROLES[kind.role], kind.name, False) for kind in world.stuff]
    found += [(_FIRST_THING + number, item.thing.name, True) for number, item in enumerate(placed)]
    for painted, name, is_thing in found:
        if counts[painted] >= (1 if is_thing else MIN_STUFF_SHARE * ids.size):
            segments.append({"id": len(segments) + 1, "category": name, "is_thing": is_thing})
            renumber[painted] = len(segments)
    return Scene(image, renumber[ids], segments)
