"""The ten things of the construction yard, each a function that sketches one specimen (y up, ground at 0)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from detr_hf.demo.canvas import Color, Sketch, mix, pick, shade, vary
from detr_hf.demo.parts import DARK, DOME, STEEL, cab, chassis, faded, heap, profile

YELLOW: Color = (232, 176, 36)
ORANGE: Color = (226, 122, 36)
SAND: tuple[Color, ...] = ((206, 172, 116), (192, 156, 104), (214, 186, 140))


def wheel_loader(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = faded(rng, YELLOW)
    radius = rng.uniform(0.68, 0.82)
    cab_x = rng.uniform(-0.6, -0.2)
    sketch.poly(((-2.3, 0.75), (0.5, 0.75), (0.5, 1.5), (-0.4, 1.85), (-2.1, 1.75), (-2.3, 1.5)), paint)
    sketch.rect(-2.25, 0.75, 0.4, 1.02, shade(paint, 0.62))
    for x in (-2.0, -1.7, -1.4):
        sketch.rect(x, 1.2, x + 0.12, 1.6, shade(paint, 0.5))
    top = rng.uniform(2.75, 3.1)
    place = np.array((cab_x, 0.0))
    sketch.poly(np.array(((-0.5, 1.6), (0.65, 1.4), (0.55, top), (-0.45, top))) + place, (58, 58, 56))
    pane = np.array(((-0.38, 1.75), (0.5, 1.6), (0.44, top - 0.16), (-0.34, top - 0.16)))
    sketch.glass(pane + place, (92, 114, 122))
    sketch.rect(cab_x - 0.6, top - 0.08, cab_x + 0.72, top + 0.06, paint)
    lift = (0.45, 1.4, 2.5)[int(rng.random() * 3)] + rng.uniform(-0.15, 0.15)
    tip = (2.15 - 0.12 * lift, lift)
    sketch.bar((0.2, 1.45), tip, 0.36, shade(paint, 0.85))
    sketch.bar((0.3, 1.2), (tip[0] - 0.25, tip[1] - 0.05), 0.14, (90, 90, 92))
    start = len(sketch)
    back, edge = ((0.42, 0.62), (0.0, 0.5), (-0.16, 0.12)), ((1.12, -0.45), (1.0, -0.22))
    bucket = np.array((*back, (-0.04, -0.3), (0.2, -0.45), *edge))
    sketch.poly(bucket + tip, shade(mix(paint, (80, 78, 74), 0.35), 0.95))
    sketch.poly((bucket - (0.2, 0.0)) * 0.72 + (0.24, 0.02) + tip, (84, 76, 68))
    sketch.bar((tip[0] + 0.1, tip[1] - 0.42), (tip[0] + 1.12, tip[1] - 0.42), 0.1, (120, 116, 108))
    sketch.turned(rng.uniform(-25, 30) if lift > 1 else rng.uniform(-2, 10), tip, start)
    for wheel_x in (-1.45, 0.95):
        sketch.wheel(wheel_x, radius, radius, paint)


def dump_truck(sketch: Sketch, rng: np.random.Generator) -> None:
    front = pick(rng, (YELLOW, ORANGE, (226, 226, 220), (52, 96, 168), (196, 60, 48)))
    bed = front if rng.random() < 0.4 else pick(rng, (YELLOW, ORANGE, (120, 122, 124), (180, 74, 52)))
    cab(sketch, rng, (1.75, 0.75, 3.0, rng.uniform(2.3, 2.7)), front)
    tilt = 0.0 if rng.random() < 0.55 else rng.uniform(12, 36)
    start = len(sketch)
    if tilt == 0.0 and rng.random() < 0.6:
        heap(sketch, rng, 3.7, 0.75, pick(rng, (*SAND, (128, 124, 120), (118, 88, 64))), (-0.75, 2.0))
    height = rng.uniform(2.15, 2.5)
    rim = ((1.55, height), (1.75, height + 0.3), (1.2, height + 0.14), (-2.85, height - 0.1))
    sketch.poly(((-2.95, 1.15), (1.2, 0.98), *rim), bed)
    sketch.poly(((-2.95, 1.15), (1.2, 0.98), (1.24, 1.2), (-2.92, 1.36)), shade(bed, 0.66))
    for x in np.linspace(-2.55, 1.0, 6):
        sketch.bar((x, 1.12), (x + 0.04, height - 0.05), 0.13, shade(bed, 0.76))
    sketch.bar((-2.86, height - 0.12), (1.5, height + 0.06), 0.12, shade(bed, 1.14))
    if tilt:
        sketch.turned(tilt, (-2.5, 1.0), start)
        sketch.bar((0.2, 0.95), (0.5, 1.0 + 2.6 * np.sin(np.deg2rad(tilt))), 0.18, STEEL)
    chassis(sketch, -2.8, 2.9, 0.85, (-2.1, -1.05, 2.25), rng.uniform(0.48, 0.56))


def hydra_crane(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = faded(rng, pick(rng, (YELLOW, (238, 190, 40), ORANGE), 8.0))
    radius = rng.uniform(0.5, 0.6)
    sketch.box((-2.3, 0.6, 1.9, 1.35), paint)
    sketch.rect(-2.3, 0.6, 1.9, 0.78, DARK)
    sketch.poly(((-0.5, 1.3), (0.75, 1.3), (0.75, 1.9), (0.5, 2.45), (-0.5, 2.45)), shade(paint, 0.9))
    sketch.glass(((-0.32, 1.6), (0.62, 1.6), (0.42, 2.3), (-0.32, 2.3)), (84, 108, 118))
    angle = np.deg2rad(rng.uniform(14, 48))
    length = rng.uniform(4.2, 5.6)
    foot = np.array((-2.0, 1.75))
    direction = np.array([np.cos(angle), np.sin(angle)])
    first, tip = foot + direction * length * 0.55, foot + direction * length
    sketch.bar((-2.0, 1.3), (-1.5, 2.0), 0.6, shade(paint, 0.7))
    sketch.bar((0.2, 1.2), foot + direction * length * 0.4, 0.16, STEEL)
    sketch.bar(first - direction * 0.3, tip, 0.32, shade(paint, 1.12))
    sketch.bar(foot, first, 0.52, paint)
    sketch.bar(foot + np.array((0.09, -0.16)), first + np.array((0.08, -0.16)), 0.14, shade(paint, 0.66))
    for share in (0.62, 0.76, 0.9):
        at = foot + direction * length * share
        sketch.bar(at, at + direction * 0.22, 0.32, DARK)
    hook = tip[1] - rng.uniform(0.7, 1.5)
    sketch.rect(tip[0] - 0.16, hook, tip[0] - 0.06, tip[1], DARK)
    sketch.rect(tip[0] - 0.3, hook - 0.4, tip[0] + 0.08, hook, (186, 52, 40))
    for x in (-1.6, 1.2):
        sketch.wheel(x, radius, radius, (200, 196, 186))


def transit_mixer(sketch: Sketch, rng: np.random.Generator) -> None:
    front = pick(rng, ((230, 230, 226), (208, 62, 48), (232, 176, 36), (58, 110, 170), (60, 140, 96)))
    drum = pick(rng, ((232, 230, 222), (228, 226, 214), (238, 190, 60), (206, 206, 204)), 8.0)
    band = pick(rng, ((206, 60, 48), (52, 104, 176), (62, 146, 84), (232, 138, 40)))
    cab(sketch, rng, (1.8, 0.75, 3.0, rng.uniform(2.3, 2.6)), front)
    sketch.bar((-2.2, 0.95), (-2.0, 2.4), 0.26, DARK)
    sketch.bar((1.45, 0.95), (1.45, 1.9), 0.5, shade(front, 0.7))
    size = rng.uniform(0.95, 1.1)
    rear, front_end = ((0.0, 0.42), (0.14, 0.62), (0.3, 0.84), (0.48, 0.98)), ((0.92, 0.66), (1.0, 0.4))
    radii = (*rear, (0.64, 1.0), (0.8, 0.9), *front_end)
    profile(sketch, ((-2.55, 2.75), (1.6, 1.85)), radii, drum, size, (band, rng.uniform(-1.0, -0.5)))
    sketch.disc(-2.55, 2.75, 0.14, 0.42 * size, (66, 62, 58))
    sketch.poly(((-2.95, 3.25), (-2.35, 3.25), (-2.5, 2.6), (-2.75, 2.6)), shade(front, 0.75))
    sketch.bar((-2.6, 2.3), (-2.95, 1.15), 0.22, STEEL)
    chassis(sketch, -2.8, 2.9, 0.85, (-2.0, -1.0, 2.25), rng.uniform(0.48, 0.56))


def water_tank(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = pick(rng, ((44, 44, 48), (36, 38, 42), (52, 96, 172), (228, 228, 222), (238, 206, 70)), 8.0)
    radius, height = rng.uniform(0.85, 1.15), rng.uniform(1.5, 2.4)
    stand = rng.uniform(0.7, 1.5) if rng.random() < 0.3 else 0.0
    if stand:
        for x in (-0.9, -0.1, 0.7):
            sketch.rect(x * radius, 0, x * radius + 0.18, stand, (104, 100, 96))
        sketch.bar((-0.8 * radius, 0.1), (0.8 * radius, stand), 0.1, (120, 116, 110))
        sketch.rect(-1.1 * radius, stand - 0.16, 1.1 * radius, stand, (140, 136, 130))
    top = stand + height
    sketch.tube((0, stand), (0, top), radius, paint)
    ribs = int(rng.integers(3, 6))
    for y in np.linspace(stand + 0.14, top - 0.12, ribs):
        sketch.tube((0, y - 0.05), (0, y + 0.05), radius * 1.06, shade(paint, 1.22))
        sketch.rect(-radius, y - 0.09, radius, y - 0.05, shade(paint, 0.55))
    profile(sketch, ((0, top), (0, top + 0.45)), DOME, shade(paint, 1.1), radius)
    sketch.tube((0, top + 0.42), (0, top + 0.6), radius * 0.34, shade(paint, 0.8))
    if rng.random() < 0.7:
        label = (236, 232, 220) if sum(paint) < 420 else (52, 84, 150)
        sketch.rect(-0.5 * radius, stand + 0.42 * height, 0.42 * radius, stand + 0.62 * height, label)


def rcc_hume_pipes(sketch: Sketch, rng: np.random.Generator) -> None:
    concrete = pick(rng, ((168, 164, 156), (152, 150, 146), (182, 176, 164)), 10.0)
    base = int(rng.integers(1, 5))
    rows = 1 if base == 1 else int(rng.integers(1, min(base, 3) + 1))
    radius = 0.6 if base > 1 else 0.8
    depth, lift = rng.uniform(1.0, 2.2) * (1.5 if base == 1 else 1.0), rng.uniform(0.12, 0.4)
    inner = rng.uniform(0.68, 0.78)
    for row in range(rows):
        y = radius + row * radius * 1.74
        for column in range(base - row):
            x = (column * 2 + row) * radius
            color = vary(rng, concrete, 8.0)
            sketch.tube((x, y), (x + depth, y + lift), radius * 0.99, shade(color, 0.9))
            sketch.disc(x, y, radius, radius, shade(color, 1.12))
            sketch.disc(x, y, radius * inner, radius * inner, (58, 55, 52))
            sketch.disc(x + 0.1, y - 0.09, radius * inner * 0.8, radius * inner * 0.78, (92, 88, 82))


def aac_blocks(sketch: Sketch, rng: np.random.Generator) -> None:
    color = pick(rng, ((222, 220, 212), (208, 208, 204), (226, 220, 204)), 8.0)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    block_w, block_h = 0.75, rng.uniform(0.34, 0.44)
    depth, lift = rng.uniform(0.4, 0.8), rng.uniform(0.14, 0.3)
    top_row = columns if rng.random() < 0.5 else int(rng.integers(1, columns + 1))
    ground = 0.2 if rng.random() < 0.6 else 0.0
    if ground:
        sketch.box((-0.04, 0, columns * block_w + 0.04, 0.2), (148, 112, 72), depth, lift)
        sketch.rect(0.2, 0.03, columns * block_w - 0.2, 0.13, (60, 46, 34))
    for row in range(rows):
        for column in range(top_row if row == rows - 1 else columns):
            x, y = column * block_w, ground + row * block_h
            sketch.box((x, y, x + block_w, y + block_h), shade(color, 0.66), depth, lift)
            face = shade(color, rng.uniform(0.93, 1.05))
            sketch.rect(x + 0.03, y + 0.03, x + block_w - 0.01, y + block_h - 0.01, face)


def river_sand(sketch: Sketch, rng: np.random.Generator) -> None:
    heap(sketch, rng, rng.uniform(3.0, 4.4), rng.uniform(1.2, 1.9), pick(rng, SAND, 10.0), (0.0, 0.0))


def fire_extinguishers(sketch: Sketch, rng: np.random.Generator) -> None:
    for x in (0.0, 0.62) if rng.random() < 0.25 else (0.0,):
        _extinguisher(sketch, rng, x)


def _extinguisher(sketch: Sketch, rng: np.random.Generator, x: float) -> None:
    red = vary(rng, (204, 34, 32), 12.0)
    radius, height = rng.uniform(0.24, 0.3), rng.uniform(1.15, 1.45)
    sketch.tube((x, 0.06), (x, height), radius, red)
    sketch.rect(x - radius * 1.04, 0, x + radius * 1.04, 0.09, (44, 40, 40))
    profile(sketch, ((x, height), (x, height + 0.22)), DOME, red, radius)
    sketch.rect(x - 0.07, height + 0.16, x + 0.07, height + 0.34, (52, 52, 54))
    place = np.array((x, height))
    sketch.poly(np.array(((-0.14, 0.3), (0.3, 0.38), (0.3, 0.48), (-0.14, 0.4))) + place, DARK)
    left = x - radius
    hose = ((x - 0.06, height + 0.3), (left - 0.1, height + 0.12), (left - 0.12, 0.55 * height))
    for start, end in pairwise((*hose, (left - 0.06, 0.3 * height))):
        sketch.bar(start, end, 0.1, (34, 34, 36))
    sketch.rect(x - 0.62 * radius, 0.42 * height, x + 0.5 * radius, 0.74 * height, (234, 230, 222))
    sketch.rect(x - 0.62 * radius, 0.62 * height, x + 0.5 * radius, 0.68 * height, (70, 90, 150))


def concrete_mixer_machine(sketch: Sketch, rng: np.random.Generator) -> None:
    drum = pick(rng, (ORANGE, (224, 92, 40), (44, 128, 176), (70, 140, 82), (150, 148, 142)), 12.0)
    frame = pick(rng, (DARK, (196, 60, 44), (52, 92, 150)), 8.0)
    sketch.bar((-1.2, 0.3), (-0.1, 1.55), 0.16, frame)
    sketch.bar((1.0, 0.05), (0.1, 1.55), 0.16, frame)
    sketch.bar((-1.3, 0.42), (1.1, 0.42), 0.16, shade(frame, 0.8))
    sketch.box((-1.35, 0.5, -0.55, 1.15), mix(drum, (120, 116, 110), 0.4))
    start = len(sketch)
    radii = ((0.0, 0.5), (0.12, 0.78), (0.3, 0.92), (0.5, 0.94), (0.72, 0.76), (0.9, 0.58), (1.0, 0.56))
    profile(sketch, ((0.0, 0.75), (0.0, 2.55)), radii, drum)
    sketch.rect(-0.95, 1.36, 0.95, 1.54, shade(drum, 0.55))
    sketch.disc(0.0, 2.55, 0.56, 0.2, shade(drum, 1.2))
    sketch.disc(0.0, 2.55, 0.46, 0.14, (58, 52, 48))
    sketch.turned(-rng.uniform(18, 58), (0.0, 1.5), start)
    sketch.wheel(-1.0, 0.34, 0.34)
    if rng.random() < 0.6:
        sketch.wheel(0.95, 0.3, 0.3)
