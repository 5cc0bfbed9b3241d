"""The street's standing objects: signs, furniture, luggage (y up, ground at 0)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from detr_hf.demo.canvas import Color, Sketch, mix, pick, shade, vary
from detr_hf.demo.parts import DARK, DOME, profile
from tools.pretrain_tiny.paint import body_color

RED: Color = (200, 38, 36)


def traffic_light(sketch: Sketch, rng: np.random.Generator) -> None:
    case = pick(rng, ((52, 54, 52), (206, 168, 44), (44, 66, 56)), 8.0)
    post = rng.uniform(0.5, 1.6)
    sketch.tube((0, 0), (0, post), 0.13, (120, 122, 120))
    sketch.rect(-0.26, 0, 0.26, 0.1, (90, 90, 88))
    sketch.box((-0.36, post, 0.36, post + 1.9), case, 0.16, 0.06)
    lit = int(rng.random() * 3)
    lamps: tuple[Color, ...] = ((60, 214, 110), (250, 196, 50), (240, 52, 44))
    for number, lamp in enumerate(lamps):
        y = post + 0.36 + 0.6 * number
        sketch.disc(0, y, 0.26, 0.26, (24, 24, 24))
        sketch.disc(0, y - 0.02, 0.22, 0.22, lamp if number == lit else shade(lamp, 0.42))


def fire_hydrant(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = pick(rng, (RED, (226, 180, 44), (196, 52, 40), (72, 112, 170)))
    cap = paint if rng.random() < 0.5 else pick(rng, ((228, 226, 220), (60, 110, 170), (226, 186, 60)))
    sketch.tube((0, 0.0), (0, 0.12), 0.42, shade(paint, 0.8))
    sketch.tube((0, 0.12), (0, 1.05), 0.27, paint)
    sketch.tube((0, 0.98), (0, 1.1), 0.36, shade(paint, 0.86))
    profile(sketch, ((0, 1.08), (0, 1.36)), DOME, cap, 0.28)
    sketch.tube((0, 1.34), (0, 1.44), 0.09, cap)
    sketch.tube((-0.46, 0.76), (0.46, 0.76), 0.13, shade(paint, 0.92))
    for x in (-0.5, 0.42):
        sketch.tube((x, 0.76), (x + 0.09, 0.76), 0.16, cap)
    sketch.disc(0.02, 0.68, 0.2, 0.2, shade(paint, 0.7))
    sketch.disc(0.02, 0.68, 0.15, 0.15, cap)


def stop_sign(sketch: Sketch, rng: np.random.Generator) -> None:
    post = rng.uniform(0.9, 2.0)
    sketch.tube((0, 0), (0, post + 0.5), 0.1, pick(rng, ((150, 152, 150), (110, 86, 62))))
    angles = np.deg2rad(22.5 + 45.0 * np.arange(8))
    octagon = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (rng.uniform(0.72, 0.86), 0.86)
    center = (0.0, post + 0.75)
    sketch.poly(octagon + center, (232, 230, 226))
    sketch.poly(octagon * 0.91 + center, vary(rng, (196, 30, 34)))
    for x in (-0.5, -0.23, 0.04, 0.31):
        sketch.rect(x, post + 0.58, x + 0.18, post + 0.92, (236, 232, 230))


def bench(sketch: Sketch, rng: np.random.Generator) -> None:
    wood = pick(rng, ((152, 100, 58), (120, 80, 52), (176, 130, 84), (84, 110, 86)))
    iron = pick(rng, ((52, 52, 54), (70, 88, 76), (120, 118, 114)), 8.0)
    half, back = rng.uniform(1.3, 1.9), rng.uniform(1.25, 1.5)
    for x in (-half + 0.2, half - 0.35):
        sketch.rect(x, 0, x + 0.17, back, iron)
        sketch.rect(x + 0.12, 0, x + 0.3, 0.6, shade(iron, 0.8))
    for y in np.linspace(0.78, back - 0.18, 3):
        sketch.rect(-half, y, half, y + 0.18, shade(wood, rng.uniform(0.9, 1.1)))
    sketch.poly(
        ((-half - 0.05, 0.5), (half + 0.05, 0.5), (half - 0.05, 0.72), (-half + 0.05, 0.72)), shade(wood, 1.2)
    )
    sketch.rect(-half - 0.05, 0.4, half + 0.05, 0.52, shade(wood, 0.72))


def umbrella(sketch: Sketch, rng: np.random.Generator) -> None:
    first = body_color(rng)
    second = first if rng.random() < 0.4 else (234, 230, 222)
    height, half = rng.uniform(1.7, 2.3), rng.uniform(1.2, 1.5)
    sketch.tube((0, 0), (0, height), 0.08, (120, 110, 100))
    sketch.rect(-0.32, 0, 0.32, 0.12, (92, 90, 88))
    angles = np.linspace(0.0, np.pi, 17)
    dome = np.stack([half * np.cos(angles), 0.85 * np.sin(angles)], axis=1)
    sketch.poly(dome + np.array((0, height)), first)
    quarter = np.linspace(0.0, np.pi / 2.0, 6)
    edges = half * np.cos(np.linspace(0.0, np.pi, 7))
    for number, (right, left) in enumerate(pairwise(edges)):
        color = shade(first if number % 2 else second, 0.7 + 0.1 * number)
        outer = np.stack([right * np.cos(quarter), 0.85 * np.sin(quarter)], axis=1)
        inner = np.stack([left * np.sin(quarter), 0.85 * np.cos(quarter)], axis=1)
        sketch.poly(np.concatenate([outer, inner]) + np.array((0, height)), color)
    sketch.rect(-0.05, height + 0.84, 0.05, height + 0.98, DARK)


def suitcase(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = body_color(rng)
    width, height, depth = rng.uniform(0.9, 1.3), rng.uniform(1.1, 1.6), rng.uniform(0.2, 0.4)
    grip = rng.uniform(0.3, 0.6)
    for x in (0.3 * width, 0.64 * width):
        sketch.rect(x, height, x + 0.07, height + grip, (150, 150, 152))
    sketch.rect(0.26 * width, height + grip - 0.05, 0.74 * width, height + grip + 0.07, DARK)
    for x in (0.1, width - 0.1, width + depth - 0.1):
        sketch.disc(x, 0.09, 0.1, 0.09, (36, 36, 38))
    sketch.box((0, 0.12, width, height), paint, depth, 0.12)
    for x in np.linspace(0.14, width - 0.2, 4):
        sketch.rect(x, 0.22, x + 0.07, height - 0.1, shade(paint, 0.8))


def bottle(sketch: Sketch, rng: np.random.Generator) -> None:
    glass = pick(rng, ((46, 104, 60), (112, 66, 34), (92, 150, 190), (186, 204, 208)))
    height, radius = rng.uniform(1.1, 1.5), rng.uniform(0.28, 0.36)
    sketch.tube((0, 0), (0, height), radius, glass)
    shoulder = ((0.0, 1.0), (0.2, 0.96), (0.45, 0.82), (0.7, 0.6), (0.88, 0.43), (1.0, 0.36))
    profile(sketch, ((0, height), (0, height + 0.36)), shoulder, glass, radius)
    neck = height + rng.uniform(0.65, 0.85)
    sketch.tube((0, height + 0.33), (0, neck), radius * 0.36, glass)
    sketch.tube(
        (0, neck - 0.04), (0, neck + 0.14), radius * 0.44, pick(rng, (RED, (230, 228, 224), (50, 80, 150)))
    )
    sketch.tube(
        (0, 0.3 * height), (0, 0.72 * height), radius, pick(rng, ((234, 228, 210), (220, 180, 70), RED))
    )


def potted_plant(sketch: Sketch, rng: np.random.Generator) -> None:
    green = pick(rng, ((70, 128, 56), (96, 146, 70), (54, 104, 66)))
    pot = pick(rng, ((176, 96, 62), (216, 210, 200), (92, 94, 98), (70, 104, 150)))
    height = rng.uniform(0.7, 1.3)
    for _ in range(16):
        lean = rng.uniform(-1.0, 1.0)
        tip = np.array([lean * 0.85, 0.85 + height * (1.05 - 0.5 * abs(lean)) * rng.uniform(0.8, 1.1)])
        bend = np.array([lean * 0.3, 0.6 * tip[1] + 0.25])
        across = np.array([0.16, -0.1 * lean])
        leaf = np.stack([(0.02, 0.7), bend + across, tip, bend - across])
        sketch.poly(leaf, shade(mix(green, (220, 210, 90), rng.uniform(0, 0.25)), rng.uniform(0.65, 1.2)))
    sketch.poly(((-0.34, 0), (0.34, 0), (0.52, 0.78), (-0.52, 0.78)), pot)
    sketch.poly(((0.05, 0), (0.34, 0), (0.52, 0.78), (0.15, 0.78)), shade(pot, 0.78))
    sketch.rect(-0.57, 0.7, 0.57, 0.88, shade(pot, 1.12))
