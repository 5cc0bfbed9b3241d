"""A synthetic film: things that move about in a fixed place, for trying videos without having one.

`python -m detr_hf.demo.video yard.mp4` writes one.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from detr_hf.demo import scene
from detr_hf.demo.canvas import SUPERSAMPLING
from detr_hf.demo.stuff import paint_backdrop
from detr_hf.demo.worlds import YARD, World
from detr_hf.errors import exit_with_message
from detr_hf.inference.video_writer import VideoWriter

RATE = 25
_SLOWEST, _FASTEST = 0.04, 0.12  # of the image's width, a second


@dataclass(frozen=True)
class _Path:
    """Back and forth between two places, canvas pixels; ``speed`` in pixels a second, either way."""

    start: float
    low: float
    high: float
    speed: float

    def at(self, seconds: float) -> float:
        span = max(self.high - self.low, 1e-9)
        gone = (self.start - self.low + self.speed * seconds) % (2 * span)
        return self.low + (gone if gone <= span else 2 * span - gone)


def draw_film(
    seed: int,
    seconds: float = 10.0,
    size_hw: tuple[int, int] = (240, 320),
    rate: int = RATE,
    world: World = YARD,
) -> Iterator[scene.Scene]:
    """The frames of a film, each with its id map; the same arguments give the same film.

    Things stand on their spots in the depth of the image and drive from side to side; one may pass before
    another. A segment's id is its own for the whole film as long as nothing is hidden or comes into view.
    """
    key = [zlib.crc32(f"film of {world.name}".encode()), seed, *size_hw]
    rng = np.random.default_rng(key)
    canvas_hw = (size_hw[0] * SUPERSAMPLING, size_hw[1] * SUPERSAMPLING)
    bare = np.zeros((*canvas_hw, 4), np.uint8)
    backdrop = paint_backdrop(bare, rng)
    placed = scene.plan(world, rng, backdrop, canvas_hw)
    paths = [_path(item, rng, canvas_hw[1]) for item in placed]
    for number in range(round(seconds * rate)):
        moved = [replace(item, x=path.at(number / rate)) for item, path in zip(placed, paths, strict=True)]
        # the same light and grain in every frame: the camera stands still
        yield scene.shoot(world, bare.copy(), moved, backdrop, np.random.default_rng(key))


def _path(item: scene.Placed, rng: np.random.Generator, width: int) -> _Path:
    """A path within the image that starts where the thing is."""
    margin = min(0.5 * item.sketch.width, 0.45 * width)
    speed = float(rng.uniform(_SLOWEST, _FASTEST) * width * rng.choice((-1, 1)))
    start = float(np.clip(item.x, margin, width - margin))
    return _Path(start, margin, width - margin, speed)


def write_film(path: Path, seed: int = 0, seconds: float = 10.0, world: World = YARD) -> Path:
    """Draw a film into an MP4 or GIF file.

    Raises:
        UserError: the file is neither MP4 nor GIF.
    """
    with VideoWriter(path, Fraction(RATE)) as writer:
        for number, frame in enumerate(draw_film(seed, seconds, world=world)):
            writer.add(Image.fromarray(frame.image), Fraction(number, RATE))
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a synthetic film.")
    parser.add_argument("out", type=Path, help="file, .mp4 or .gif")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with exit_with_message():
        print(write_film(arguments.out, arguments.seed, arguments.seconds))


if __name__ == "__main__":
    main()
