"""The street's vehicles and animals: parts shared with the yard, but no class of it (y up, ground at 0)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from detr_hf.demo.canvas import Sketch, pick, shade
from detr_hf.demo.parts import DARK, STEEL, cab, chassis
from tools.pretrain_tiny.paint import body_color


def car(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = body_color(rng)
    roof, front = rng.uniform(1.4, 1.75), rng.uniform(1.0, 1.35)
    tail = -2.0 if rng.random() < 0.5 else -1.55
    sketch.poly(
        (
            (-2.1, 0.3),
            (2.15, 0.3),
            (2.15, 0.72),
            (front, 0.95),
            (front - 0.65, roof),
            (tail + 0.5, roof),
            (tail, 0.98),
            (-2.12, 0.9),
        ),
        paint,
    )
    sketch.rect(-2.1, 0.28, 2.15, 0.46, shade(paint, 0.6))
    sketch.bar((-2.05, 0.86), (2.0, 0.74), 0.06, shade(paint, 1.3))
    sketch.glass(((tail + 0.25, 1.0), (-0.35, 1.0), (-0.35, roof - 0.1), (tail + 0.6, roof - 0.1)))
    sketch.glass(((-0.22, 1.0), (front - 0.16, 1.0), (front - 0.66, roof - 0.1), (-0.22, roof - 0.1)))
    sketch.rect(1.95, 0.62, 2.15, 0.78, (240, 232, 200))
    sketch.rect(-2.12, 0.66, -1.95, 0.84, (190, 40, 36))
    for x in (-1.3, 1.3):
        sketch.disc(x, 0.36, 0.44, 0.44, (28, 28, 30))
        sketch.wheel(x, 0.35, 0.35, (176, 176, 176))


def bus(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = body_color(rng)
    length, top = rng.uniform(3.4, 4.4), rng.uniform(2.7, 3.0)
    sketch.rect(-length, 0.4, length, top, paint)
    sketch.rect(-length, top - 0.14, length, top, shade(paint, 1.25))
    sketch.rect(-length, 0.4, length, 0.62, shade(paint, 0.62))
    sketch.rect(-length, 0.95, length, 1.2, pick(rng, ((236, 232, 224), (228, 190, 60), shade(paint, 0.7))))
    panes = int(rng.integers(5, 8))
    edges = np.linspace(-length + 0.15, length - 0.75, panes + 1)
    for a, b in pairwise(edges):
        sketch.glass(((a + 0.06, 1.4), (b - 0.06, 1.4), (b - 0.06, top - 0.35), (a + 0.06, top - 0.35)))
    sketch.glass(
        ((length - 0.65, 0.7), (length - 0.05, 0.9), (length - 0.05, top - 0.25), (length - 0.65, top - 0.25))
    )
    for x in (-0.6 * length, 0.64 * length):
        sketch.disc(x, 0.5, 0.58, 0.58, (30, 30, 32))
        sketch.wheel(x, 0.46, 0.46)


def train(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = body_color(rng)
    stripe = pick(rng, ((232, 190, 60), (232, 230, 224), (196, 52, 44)))
    length = rng.uniform(4.6, 6.0)
    sketch.rect(-length, 0.0, length + 0.3, 0.14, (104, 92, 84))
    for x in np.arange(-length + 0.5, length, 0.75):
        sketch.disc(x, 0.38, 0.28, 0.28, (44, 44, 46))
    nose = rng.uniform(0.2, 1.6)
    body = ((-length, 0.5), (length, 0.5), (length + 0.1, 1.2), (length - nose, 2.75), (-length, 2.75))
    sketch.poly(body, paint)
    sketch.rect(-length, 2.62, length - nose, 2.82, (120, 122, 126))
    sketch.rect(-length, 0.95, length, 1.3, stripe)
    sketch.rect(-length, 0.46, length, 0.66, DARK)
    edges = np.linspace(-length + 0.1, length - nose - 0.4, 8)
    for number, (a, b) in enumerate(pairwise(edges)):
        if number == 3:
            sketch.rect(a + 0.12, 0.7, b - 0.12, 2.4, shade(paint, 0.75))
            continue
        sketch.glass(((a + 0.14, 1.55), (b - 0.14, 1.55), (b - 0.14, 2.3), (a + 0.14, 2.3)))
    sketch.glass(
        (
            (length - nose - 0.2, 1.6),
            (length - 0.25 * nose, 1.6),
            (length - nose, 2.5),
            (length - nose - 0.2, 2.5),
        )
    )
    sketch.rect(-0.05, 0.5, 0.05, 2.75, (40, 40, 42))


def truck(sketch: Sketch, rng: np.random.Generator) -> None:
    front = body_color(rng)
    cab(sketch, rng, (1.9, 0.7, 3.1, rng.uniform(2.3, 2.7)), front)
    kind = rng.random()
    if kind < 0.6:
        cargo = pick(rng, ((226, 226, 222), (196, 200, 204), (180, 62, 50), (62, 100, 150), (92, 120, 90)))
        top = rng.uniform(2.8, 3.4)
        sketch.rect(-3.0, 0.9, 1.7, top, cargo)
        sketch.rect(-3.0, top - 0.12, 1.7, top, shade(cargo, 1.2))
        for x in np.linspace(-2.7, 1.4, 6):
            sketch.rect(x, 0.95, x + 0.06, top - 0.14, shade(cargo, 0.84))
    elif kind < 0.85:
        tank = pick(rng, ((200, 202, 204), (226, 226, 222), (208, 120, 50)))
        sketch.tube((-3.0, 1.75), (1.6, 1.75), 0.85, tank)
        for x in (-2.2, -0.7, 0.8):
            sketch.tube((x, 1.75), (x + 0.1, 1.75), 0.88, shade(tank, 0.7))
    else:
        for x in (-2.4, -1.2, 0.0, 1.1):
            sketch.tube((x - 0.6, 1.4), (x + 0.6, 1.4), 0.4, (142, 100, 62))
        for x in (-1.8, -0.6, 0.5):
            sketch.tube((x - 0.6, 2.05), (x + 0.6, 2.05), 0.38, (128, 90, 56))
    chassis(sketch, -2.95, 3.0, 0.85, (-2.2, -1.15, 2.35), rng.uniform(0.46, 0.54))


def motorcycle(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = body_color(rng)
    sketch.bar((-0.75, 0.42), (0.1, 0.62), 0.16, STEEL)
    sketch.bar((0.82, 0.42), (0.48, 1.25), 0.14, (170, 170, 172))
    sketch.disc(0.02, 0.52, 0.32, 0.28, (86, 86, 90))
    sketch.poly(((-0.2, 0.8), (0.5, 0.85), (0.55, 1.12), (0.2, 1.22), (-0.2, 1.02)), paint)
    sketch.poly(((-0.98, 0.92), (-0.1, 0.84), (-0.1, 1.02), (-0.5, 1.06), (-0.95, 1.1)), (40, 38, 38))
    sketch.poly(((-1.05, 0.78), (-0.4, 0.7), (-0.4, 0.9), (-1.0, 0.98)), shade(paint, 0.85))
    sketch.bar((0.5, 1.25), (0.25, 1.42), 0.1, DARK)
    sketch.disc(0.66, 1.15, 0.15, 0.16, (228, 224, 200))
    sketch.bar((-0.9, 0.3), (-0.1, 0.36), 0.13, (176, 176, 178))
    for x in (-0.78, 0.84):
        sketch.wheel(x, 0.4, 0.4, (150, 152, 154))
    sketch.poly(((0.56, 0.8), (1.1, 0.74), (1.16, 0.62), (0.9, 0.9), (0.6, 0.92)), paint)


def boat(sketch: Sketch, rng: np.random.Generator) -> None:
    hull = pick(rng, ((226, 226, 222), (44, 86, 150), (180, 52, 44), (60, 120, 110)))
    length, deck = rng.uniform(2.2, 3.0), rng.uniform(0.85, 1.1)
    keel = pick(rng, ((150, 60, 48), (40, 56, 90), (56, 58, 60)))
    sketch.poly(((-0.92 * length, 0), (0.62 * length, 0), (0.82 * length, 0.4), (-0.97 * length, 0.4)), keel)
    sketch.poly(
        ((-0.97 * length, 0.34), (0.8 * length, 0.34), (1.08 * length, deck + 0.15), (-length, deck)), hull
    )
    sketch.bar((-length, deck), (1.06 * length, deck + 0.12), 0.12, shade(hull, 0.7))
    house = rng.uniform(0.7, 1.1)
    left = rng.uniform(-0.7, -0.3) * length
    sketch.poly(
        ((left, deck), (left + 1.9, deck), (left + 1.5, deck + house), (left, deck + house)), (232, 230, 224)
    )
    for x in (0.15, 0.65, 1.1):
        sketch.glass(
            (
                (left + x, deck + 0.35),
                (left + x + 0.34, deck + 0.35),
                (left + x + 0.3, deck + house - 0.16),
                (left + x, deck + house - 0.16),
            )
        )
    sketch.rect(left - 0.1, deck + house, left + 1.65, deck + house + 0.1, shade(hull, 0.9))
    if rng.random() < 0.5:
        sketch.rect(left + 1.0, deck + house, left + 1.14, deck + house + 1.2, (120, 96, 70))


def airplane(sketch: Sketch, rng: np.random.Generator) -> None:
    paint = pick(rng, ((232, 232, 230), (214, 218, 224), (224, 226, 220)), 8.0)
    accent = pick(rng, ((196, 48, 44), (40, 84, 160), (232, 150, 40), (50, 130, 110)))
    sketch.poly(((-3.3, 0.95), (-2.4, 0.95), (-2.9, 2.1), (-3.5, 2.1)), accent)
    sketch.tube((-2.4, 0.95), (2.4, 0.95), 0.42, paint)
    sketch.poly(((-3.7, 1.25), (-2.3, 1.36), (-2.3, 0.55)), shade(paint, 0.92))
    sketch.poly(((2.3, 1.36), (2.85, 1.18), (3.1, 0.9), (2.8, 0.62), (2.3, 0.54)), shade(paint, 0.98))
    sketch.bar((-2.3, 0.9), (2.6, 0.9), 0.1, accent)
    for x in np.linspace(-1.9, 2.0, 10):
        sketch.rect(x, 1.04, x + 0.16, 1.18, (64, 80, 96))
    sketch.poly(((2.55, 1.06), (2.95, 1.0), (2.7, 1.2)), (54, 70, 86))
    sketch.poly(((-0.4, 0.85), (0.9, 0.85), (-0.5, 0.08), (-1.15, 0.08)), shade(paint, 0.78))
    sketch.tube((-0.1, 0.4), (0.75, 0.4), 0.2, shade(accent, 0.9))
    sketch.poly(((-3.5, 1.1), (-2.8, 1.1), (-3.4, 0.8), (-3.8, 0.8)), shade(paint, 0.8))


def cow(sketch: Sketch, rng: np.random.Generator) -> None:
    hide, spot = ((232, 228, 220), (50, 44, 42)) if rng.random() < 0.5 else ((146, 92, 56), (120, 74, 46))
    coat = pick(rng, (hide,), 12.0)
    stride = rng.uniform(-0.15, 0.15)
    for x, sway in ((-0.95, stride), (0.62, -stride)):
        sketch.bar((x + 0.16, 0.8), (x + 0.16 - sway, 0.0), 0.2, shade(coat, 0.62))
    sketch.poly(
        ((-1.2, 0.75), (-0.3, 0.62), (0.7, 0.7), (0.98, 1.1), (0.9, 1.55), (-1.05, 1.6), (-1.3, 1.3)), coat
    )
    sketch.poly(((-1.2, 0.76), (-0.3, 0.62), (0.7, 0.7), (0.9, 0.95), (-1.2, 0.95)), shade(coat, 0.75))
    for x, y, size in ((-0.8, 1.3, 0.3), (0.1, 1.15, 0.34), (0.55, 1.4, 0.18)):
        sketch.disc(x, y, size, size * rng.uniform(0.6, 0.85), spot)
    for x, sway in ((-1.1, -stride), (0.75, stride)):
        sketch.bar((x, 0.85), (x - sway, 0.0), 0.22, shade(coat, 0.88))
        sketch.rect(x - sway - 0.12, 0.0, x - sway + 0.12, 0.12, (40, 36, 34))
    sketch.bar((-1.22, 1.5), (-1.34, 0.75), 0.1, shade(coat, 0.7))
    start = len(sketch)
    sketch.poly(((0.7, 1.5), (0.8, 0.95), (1.35, 1.45), (1.25, 1.8)), shade(coat, 0.95))
    sketch.poly(((1.15, 1.85), (1.15, 1.4), (1.75, 1.22), (1.86, 1.4), (1.5, 1.8)), coat)
    sketch.disc(1.76, 1.34, 0.15, 0.14, (206, 160, 150))
    sketch.poly(((1.12, 1.86), (0.85, 1.92), (1.1, 1.66)), spot)
    sketch.bar((1.22, 1.8), (1.32, 2.04), 0.1, (226, 216, 190))
    sketch.turned(-rng.uniform(0, 45), (0.85, 1.3), start)
