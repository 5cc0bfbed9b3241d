"""Videos and cameras as upright RGB frames with their times, one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file
from detr_hf.images import MAX_PIXELS

FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,gif,ogg,flv"
"""Containers of one file: a playlist could lead to any other file, or into the network."""

USUAL_RATE = Fraction(25)


@dataclass(frozen=True)
class Frame:
    """An image ``uint8 [H, W, 3]`` and when it is shown, in seconds from the first."""

    pixels: NDArray[np.uint8]
    at: Fraction


@dataclass
class Footage:
    """What can be known before the first frame: frames a second, how many there are, and the frames."""

    rate: Fraction
    count: int | None
    frames: Iterator[Frame]


def require_av() -> Any:
    """PyAV, which reads and writes videos.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("videos need PyAV; get it with: pip install 'detr-hf[video]'") from error
    return av


def open_footage(source: Path | int, seconds: float | None = None) -> Footage:
    """A video file, or the camera of that number.

    Args:
        source: see above.
        seconds: end after so long.

    Raises:
        UserError: it cannot be opened, or later, while frames are taken, read on.
    """
    footage = _camera(source) if isinstance(source, int) else _file(source)
    if seconds is not None:
        limit = Fraction(seconds).limit_denominator(1000)
        footage.count = None if footage.count is None else min(footage.count, round(limit * footage.rate))
        footage.frames = takewhile(lambda frame: frame.at < limit, footage.frames)
    return footage


def _file(path: Path) -> Footage:
    av = require_av()
    open_file(path, "video").close()  # FFmpeg would wait at a named pipe
    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        container = av.open(str(path), container_options=options, metadata_errors="ignore")
        stream = next(iter(container.streams.video), None)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path}: this is no video that can be read ({_reason(error)}).") from error
    if stream is None:
        container.close()
        raise UserError(f"{path}: there are no images in it.")
    if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        raise UserError(f"{path}: its frames are larger than {MAX_PIXELS / 1e6:.0f} Mpx.")
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
    count = stream.frames or (int(container.duration / 1_000_000 * rate) if container.duration else None)
    return Footage(rate, count, _decoded(av, container, stream, rate, path))


def _decoded(av: Any, container: Any, stream: Any, rate: Fraction, path: Path) -> Iterator[Frame]:
    start: Fraction | None = None
    at = Fraction(0)
    with container:
        try:
            for number, frame in enumerate(container.decode(stream)):
                shown = number / rate if frame.pts is None else frame.pts * frame.time_base
                start = shown if start is None else start
                at = shown - start
                yield Frame(_upright(frame), at)
        except av.error.FFmpegError as error:
            raise UserError(
                f"{path}: the video is damaged after {float(at):.1f} s ({_reason(error)})."
            ) from error
    if start is None:
        raise UserError(f"{path}: there are no images in it.")


def _upright(frame: Any) -> NDArray[np.uint8]:
    """Turned as the file says; phones store what they film lying on its side."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _camera(number: int) -> Footage:
    with _quiet_cv2():
        camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise UserError(
            f"camera {number} cannot be opened; is it plugged in and free? On Linux /dev/video{number} must "
            "be there."
        )
    rate = Fraction(camera.get(cv2.CAP_PROP_FPS) or USUAL_RATE).limit_denominator(1001)
    return Footage(rate, None, _watched(camera))


@contextmanager
def _quiet_cv2() -> Iterator[None]:
    """Without OpenCV's own lines on a camera that is not there."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


def _watched(camera: Any) -> Iterator[Frame]:
    """What the camera shows at the moment it is asked, with the real time, until it ends."""
    start = time.monotonic()
    try:
        while True:
            there, image = camera.read()
            if not there:
                return
            at = Fraction(time.monotonic() - start).limit_denominator(1000)
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), at)
    finally:
        camera.release()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
