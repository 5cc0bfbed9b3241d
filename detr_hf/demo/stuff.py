"""Backgrounds: sky, skyline, vegetation, ground and fences, painted on the canvas."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from detr_hf.demo.canvas import Color, mix, pick, shade, vary

SKY, BUILDING, PLANT, GROUND, FENCE = 1, 2, 3, 4, 5
STUFF_ROLES = {"sky": SKY, "building": BUILDING, "plant": PLANT, "ground": GROUND, "fence": FENCE}
# How strongly the noise tiles modulate each kind of stuff: (grain, patches).
STUFF_GRAIN = {
    SKY: (0.0, 0.0),
    BUILDING: (0.05, 0.05),
    PLANT: (0.3, 0.24),
    GROUND: (0.12, 0.1),
    FENCE: (0.06, 0.05),
}

_SKIES: tuple[tuple[Color, Color], ...] = (
    ((84, 140, 204), (196, 216, 230)),
    ((112, 160, 208), (214, 224, 228)),
    ((176, 184, 192), (214, 216, 216)),
    ((150, 156, 164), (196, 198, 198)),
    ((98, 116, 160), (238, 190, 150)),
    ((190, 200, 206), (228, 226, 218)),
)
_SOIL: tuple[Color, ...] = ((156, 128, 96), (172, 142, 104), (150, 108, 80))
_GROUNDS: tuple[Color, ...] = (*_SOIL, (140, 134, 124), (168, 164, 154), (116, 112, 108))
_PLASTER: tuple[Color, ...] = ((190, 182, 168), (160, 156, 152), (176, 132, 108))
_WALLS: tuple[Color, ...] = (*_PLASTER, (206, 200, 186), (142, 148, 156), (186, 160, 126))
_LEAF_MASSES = 34
_GREENS: tuple[Color, ...] = ((72, 104, 50), (88, 116, 58), (56, 88, 46), (104, 118, 58))


@dataclass(frozen=True)
class Backdrop:
    """What the light needs to know of a painted backdrop; canvas pixels."""

    horizon: int
    haze: Color
    cloudiness: float


def paint_backdrop(canvas: np.ndarray, rng: np.random.Generator) -> Backdrop:
    """Paint sky, ground and, by chance, a skyline, trees and a fence on uint8[H, W, 4]."""
    horizon = int(rng.uniform(0.28, 0.52) * canvas.shape[0])
    zenith, haze = _SKIES[int(rng.random() * len(_SKIES))]
    zenith, haze = vary(rng, zenith, 10.0), vary(rng, haze, 8.0)
    _fill_rows(canvas[:horizon], zenith, haze, np.linspace(0.0, 1.0, horizon), SKY)
    _paint_ground(canvas, rng, horizon, haze)
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(1, 5))):
            _paint_house(canvas, rng, horizon, haze)
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(1, 5))):
            _paint_tree(canvas, rng, horizon, haze)
    if rng.random() < 0.5:
        _paint_fence(canvas, rng, horizon)
    return Backdrop(horizon, haze, float(rng.uniform(0.0, 0.9)))


def _rect(canvas: np.ndarray, corners: tuple[float, ...], color: Color, segment: int) -> None:
    """Fill a rectangle x0, y0, x1, y1; corners are cut to whole pixels and belong to it."""
    x0, y0, x1, y1 = map(int, corners)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), (*color, segment), -1)


def _fill_rows(region: np.ndarray, top: Color, foot: Color, rows: np.ndarray, segment: int) -> None:
    """One color per row, uint8[H, W, 4] <- share of `foot` [H]; as 32-bit words, far faster than bytes."""
    share = rows[:, None]
    words = np.full((len(rows), 4), segment, dtype=np.uint8)
    words[:, :3] = np.rint(np.asarray(top) * (1 - share) + np.asarray(foot) * share)
    region.view(np.uint32)[..., 0] = words.view(np.uint32)


def _paint_ground(canvas: np.ndarray, rng: np.random.Generator, horizon: int, haze: Color) -> None:
    height, width = canvas.shape[:2]
    depth, base = height - horizon, pick(rng, _GROUNDS, 16.0)
    _fill_rows(canvas[horizon:], mix(base, haze, 0.25), base, np.linspace(0.0, 1.0, depth) ** 0.6, GROUND)
    if rng.random() < 0.55:
        _paint_tracks(canvas, rng, horizon, base)

    def blot(share: float, center_x: int, axes: tuple[int, int], tone: Color) -> None:
        center = (center_x, int(horizon + share * depth))
        cv2.ellipse(canvas, center, axes, 0, 0, 360, (*tone, GROUND), -1)

    for _ in range(int(rng.integers(3, 9))):  # patches
        share, x = rng.uniform(0.08, 1.0), int(rng.uniform(0, width))
        wide = int(rng.uniform(0.05, 0.2) * width * share) + 2
        tall = int(rng.uniform(0.01, 0.045) * height * share) + 1
        tone = shade(base, rng.uniform(0.84, 1.14)) if rng.random() < 0.8 else mix(base, haze, 0.55)
        blot(share, x, (wide, tall), tone)
    for _ in range(int(rng.integers(0, 26))):  # stones
        share, x = rng.uniform(0.05, 1.0), int(rng.uniform(0, width))
        size = 1 + int(rng.uniform(0.002, 0.009) * width * share)
        blot(share, x, (size + 1, size), shade(base, rng.uniform(0.6, 1.3)))


def _paint_tracks(canvas: np.ndarray, rng: np.random.Generator, horizon: int, base: Color) -> None:
    """Two wheel ruts that meet far away."""
    height, width = canvas.shape[:2]
    vanish, foot, gauge, rut = (
        rng.uniform(low, high) * width for low, high in ((0.1, 0.9), (-0.2, 1.0), (0.2, 0.34), (0.04, 0.08))
    )
    tone = (*shade(base, rng.uniform(0.78, 0.9)), GROUND)
    for left in (foot, foot + gauge):
        rutted = np.array([(vanish, horizon + 4), (left, height), (left + rut, height)])
        cv2.fillPoly(canvas, [rutted.astype(np.int32)], tone)


def _paint_house(canvas: np.ndarray, rng: np.random.Generator, horizon: int, haze: Color) -> None:
    """A wall with its shaded side and rows of windows, finished or still a shell with bare columns."""
    width, foot = canvas.shape[1], horizon + 2
    wide, left = int(rng.uniform(0.16, 0.42) * width), int(rng.uniform(-0.1, 0.95) * width)
    right, top = left + wide, int(horizon * rng.uniform(0.08, 0.62))
    wall = mix(pick(rng, _WALLS), haze, rng.uniform(0.05, 0.4))
    unfinished = rng.random() < 0.35
    _rect(canvas, (left, top, right, foot), wall, BUILDING)
    side = int(wide * rng.uniform(0.0, 0.3))
    _rect(canvas, (right - side, top, right, foot), shade(wall, 0.78), BUILDING)
    floors = max(2, int((foot - top) / rng.uniform(24, 44)))
    bays = max(2, int(wide / rng.uniform(22, 48)))
    pane = shade(wall, 0.36) if unfinished else mix((70, 86, 104), wall, rng.uniform(0.0, 0.4))
    fill = 0.8 if unfinished else rng.uniform(0.4, 0.66)
    step_x, step_y = wide / bays, (foot - top) / floors
    for floor in range(floors):
        y0 = top + (floor + 0.5 - fill / 2) * step_y
        for bay in range(bays):
            x0 = left + (bay + 0.5 - fill / 2) * step_x
            tone = shade(pane, 1.45 if (floor * 7 + bay * 3) % 5 == 0 else 1.0)
            _rect(canvas, (x0, y0, x0 + fill * step_x, y0 + fill * step_y * 0.9), tone, BUILDING)
    if not unfinished:
        _rect(canvas, (left - 2, top - 4, right + 2, top + 3), shade(wall, 1.12), BUILDING)
        return
    for bay in range(bays + 1):
        x = int(left + bay * step_x)
        _rect(canvas, (x - 1, top - 10, x + 1, foot), shade(wall, 0.7), BUILDING)


def _paint_tree(canvas: np.ndarray, rng: np.random.Generator, horizon: int, haze: Color) -> None:
    """A tree, or a bush where it would be wider than tall."""
    width = canvas.shape[1]
    green = mix(pick(rng, _GREENS), haze, rng.uniform(0.0, 0.25))
    x = rng.uniform(0.0, 1.0) * width
    foot = horizon + rng.uniform(0.0, 0.05) * width
    spread = rng.uniform(0.05, 0.13) * width
    rise = spread * rng.uniform(0.5, 1.7)
    if rise > spread:
        bark, half = mix((84, 66, 50), haze, 0.1), spread * 0.09
        _rect(canvas, (x - half, foot - rise, x + half, foot), bark, PLANT)
    for number in range(_LEAF_MASSES):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.0) ** 0.5
        center_x = x + np.cos(angle) * spread * reach
        center_y = foot - rise * 1.05 - np.sin(angle) * 0.72 * spread * reach
        if rise <= spread:
            center_y = min(center_y + 0.5 * rise, foot - 0.16 * spread)
        light = 0.62 + 0.5 * number / _LEAF_MASSES + 0.16 * (foot - rise - center_y) / spread
        size = int(spread * (rng.uniform(0.12, 0.26) if number > 8 else 0.36))
        cv2.circle(canvas, (int(center_x), int(center_y)), size, (*shade(green, light), PLANT), -1)


def _paint_fence(canvas: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Boards, profiled sheets, barriers or wire mesh along the far edge of the ground."""
    height, width = canvas.shape[:2]
    foot = horizon + int(rng.uniform(0.025, 0.09) * height)
    tall = int(rng.uniform(0.09, 0.17) * height)
    whole = rng.random() < 0.5
    left = 0 if whole else int(rng.uniform(-0.1, 0.5) * width)
    right = width if whole else left + int(rng.uniform(0.4, 0.8) * width)
    kind = int(rng.random() * 4)
    if kind == 0:
        _paint_mesh(canvas, rng, (left, foot - tall, right, foot))
        return
    color = pick(rng, ((70, 120, 170), (90, 140, 110), (150, 150, 152), (176, 132, 86), (206, 196, 176)))
    if kind == 3:
        tall, color = int(tall * 0.55), pick(rng, ((196, 192, 184), (216, 120, 50), (206, 200, 190)))
    step = int(rng.uniform(10, 30)) * (3 if kind == 3 else 1)
    for number, x in enumerate(range(left, right, step)):
        tone = shade(color, (0.88, 1.0, 1.1)[number % 3] if kind == 1 else (0.9, 1.06)[number % 2])
        if kind == 3 and number % 2:
            tone = (188, 52, 44) if step % 2 else (214, 208, 196)
        _rect(canvas, (x, foot - tall, min(x + step - 1, right), foot), tone, FENCE)
    for y in (foot - tall, foot - tall // 3):
        _rect(canvas, (left, y, right, y + 3), shade(color, 0.66), FENCE)


def _paint_mesh(canvas: np.ndarray, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Wire mesh: what stands behind it shows through, but every pixel is fence."""
    left, top, right, foot = max(box[0], 0), max(box[1], 0), min(box[2], canvas.shape[1]), box[3]
    region = canvas[top:foot, left:right]
    region[..., :3] = (region[..., :3].astype(np.uint16) * 2 + (132, 136, 138)) // 3
    region[..., 3] = FENCE
    tall, wire, step = foot - top, vary(rng, (176, 180, 182), 8.0), int(rng.uniform(11, 18))
    patch = np.ascontiguousarray(region)
    for x in range(-tall, right - left, step):
        for start, end in ((x, x + tall), (x + tall, x)):
            cv2.line(patch, (start, 0), (end, tall), (*wire, FENCE), 1)
    for x in range(0, right - left, 5 * step):
        _rect(patch, (x, 0, x + 5, tall), shade(wire, 0.6), FENCE)
    _rect(patch, (0, 0, right - left, 3), shade(wire, 0.7), FENCE)
    region[:] = patch


def shadow(
    canvas: np.ndarray, center: tuple[float, float], axes: tuple[float, float], strength: float
) -> None:
    """Darken a soft ellipse on the canvas (the ids stay as they are); canvas pixels."""
    rx, ry = max(axes[0], 2.0), max(axes[1], 2.0)
    x0, x1 = max(int(center[0] - 1.2 * rx), 0), min(int(center[0] + 1.2 * rx) + 1, canvas.shape[1])
    y0, y1 = max(int(center[1] - 1.4 * ry), 0), min(int(center[1] + 1.4 * ry) + 1, canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    across = ((np.arange(x0, x1) - center[0]) / rx) ** 2
    down = ((np.arange(y0, y1) - center[1]) / ry) ** 2
    cover = np.clip((1.3 - across[None, :] - down[:, None]) * 1.4, 0.0, 1.0)
    keep = np.rint(256.0 * (1.0 - strength * cover)).astype(np.uint16)
    region = canvas[y0:y1, x0:x1]
    factors = np.asarray(cv2.merge([keep, keep, keep, np.full_like(keep, 256)]), dtype=np.uint16)
    region[:] = (region * factors) >> 8
