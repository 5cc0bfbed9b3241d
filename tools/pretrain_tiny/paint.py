"""The paint that vehicles, umbrellas and luggage of the street share."""

from __future__ import annotations

import numpy as np

from detr_hf.demo.canvas import Color, pick

BODY_COLORS: tuple[Color, ...] = (
    (206, 58, 46),
    (46, 88, 158),
    (222, 222, 218),
    (60, 128, 84),
    (88, 92, 98),
    (196, 170, 60),
    (64, 150, 168),
)


def body_color(rng: np.random.Generator) -> Color:
    """A usual paint of a street vehicle."""
    return pick(rng, BODY_COLORS, 18.0)
