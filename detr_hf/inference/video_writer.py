"""Images into an MP4 or GIF file, frame by frame, holding none of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.files import unwritable
from detr_hf.foreign_files import own_file
from detr_hf.inference.video_reader import require_av

SUFFIXES = (".mp4", ".gif")

GIF_EDGE = 640
"""Longest edge of a GIF in pixels; larger images are reduced."""

_MP4_CLOCK = Fraction(1, 90_000)
_GIF_CLOCK = Fraction(1, 100)  # of the format
_GIF_STEP = 2  # ticks between frames at least: browsers slow down what is faster
_FREE_COLORS = 192  # of a GIF's 256; the others are spread evenly, for what comes later


class VideoWriter:
    """A video file to be used in a ``with`` block, after which it can be played, however the block ends.

    Args:
        path: the file; ``.mp4`` or ``.gif``.
        rate: frames a second. Each is shown at its own time; this is what the file says of itself.

    Raises:
        UserError: another suffix, or PyAV is missing.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: a video is written as .mp4 or .gif.")
        self._av = require_av()
        self._path, self._rate = own_file(path.parent, path.name), rate
        self._is_gif = path.suffix.lower() == ".gif"
        self._clock, self._step = (_GIF_CLOCK, _GIF_STEP) if self._is_gif else (_MP4_CLOCK, 1)
        self._container: Any = None
        self._stream: Any = None
        self._palette: Image.Image | None = None
        self._size_wh = (0, 0)
        self._last: int | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, image: Image.Image, at: Fraction) -> None:
        """Show an image from ``at`` on, in seconds; all take the size of the first."""
        if self._stream is None:
            self._start(image)
        if image.size != self._size_wh:
            image = image.resize(self._size_wh, Image.Resampling.BILINEAR)
        tick = round(at / self._clock)
        if self._last is not None and tick < self._last + self._step:
            return  # faster than the format can show
        self._last = tick
        frame = self._gif_frame(image) if self._is_gif else self._mp4_frame(image)
        frame.pts, frame.time_base = tick, self._clock
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, *raised: object) -> None:
        if self._container is not None:
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()

    def _start(self, first: Image.Image) -> None:
        self._size_wh = _reduced(first.size, GIF_EDGE) if self._is_gif else first.size
        last = max(_GIF_STEP, round(1 / (self._rate * _GIF_CLOCK)))  # how long a GIF shows its last frame
        options = {"final_delay": str(last)} if self._is_gif else {}
        with unwritable(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(str(self._path), "w", options=options)
        best = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
        codec, pixels = ("gif", "pal8") if self._is_gif else (best, "yuv420p")
        self._stream = self._container.add_stream(codec, rate=self._rate)
        even = 1 if self._is_gif else 2
        self._stream.width, self._stream.height = (side + side % even for side in self._size_wh)
        self._stream.pix_fmt = pixels
        self._stream.codec_context.time_base = self._clock
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        if self._is_gif:
            self._palette = _palette(first.resize(self._size_wh))

    def _mp4_frame(self, image: Image.Image) -> Any:
        """Odd sides get their last row or column twice: the color planes have half the size."""
        pixels = np.asarray(image.convert("RGB"))
        padding = ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0))
        return self._av.VideoFrame.from_ndarray(np.pad(pixels, padding, "edge"), format="rgb24")

    def _gif_frame(self, image: Image.Image) -> Any:
        """In the colors of the first frame, without dithering, whose dots would swarm."""
        assert self._palette is not None
        indexed = image.convert("RGB").quantize(palette=self._palette, dither=Image.Dither.NONE)
        return self._av.VideoFrame.from_ndarray((np.asarray(indexed), _argb(self._palette)), format="pal8")


def _reduced(size_wh: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _palette(first: Image.Image) -> Image.Image:
    """256 colors for all frames: those of the first one, and a few from everywhere."""
    own = first.convert("RGB").quantize(_FREE_COLORS, Image.Quantize.MEDIANCUT, kmeans=2)
    colors = np.array(own.getpalette(), np.uint8).reshape(-1, 3)[:_FREE_COLORS]
    levels = np.linspace(0, 255, 4).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    spare = np.zeros((256 - len(colors) - len(cube), 3), np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([colors, cube, spare]).tobytes())
    return palette


def _argb(palette: Image.Image) -> NDArray[np.uint8]:
    """The palette ``uint8 [256, 4]`` as FFmpeg stores it: alpha, red, green, blue."""
    colors = np.array(palette.getpalette(), np.uint8).reshape(256, 3)
    return np.concatenate([np.full((256, 1), 255, np.uint8), colors], 1)
