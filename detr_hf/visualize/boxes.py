"""Boxes with names and scores, drawn over an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detr_hf.labels import Color, LabelMap
from detr_hf.modeling.predictions import Detections
from detr_hf.visualize.canvas import Captions, Place, Rectangle, contrast_to, enlarged, line_width

_DASH = 4  # length of the dashes of true boxes, in line widths


@dataclass
class UnscoredBoxes:
    """Boxes to be drawn with names alone, as the truth is: ``float [N, 4]`` pixels, class ids ``[N]``."""

    boxes_xyxy_px: NDArray[Any]
    labels: NDArray[Any]
    scores: None = None


def draw_detections(
    image: NDArray[np.uint8], detections: Detections | UnscoredBoxes, labels: LabelMap, truth: bool = False
) -> Image.Image:
    """Boxes with names and scores over an image.

    Args:
        image: uint8[H, W, 3].
        detections: boxes in pixels; without scores only names are written.
        labels: gives names and colors.
        truth: draw with dashed lines, as ground truth.

    Returns:
        an RGB image, a whole number of times larger than ``image`` if that is small. Things lie on top of
        stuff, whose boxes are thin because they often span the image, and better scores on top of others.
        Names that find no room are left out and counted in the lower right corner.
    """
    canvas, factor = enlarged(image)
    boxes = np.asarray(detections.boxes_xyxy_px, np.float64).reshape(-1, 4) * factor
    classes = np.asarray(detections.labels, np.int64).reshape(-1).tolist()
    scores = [None] * len(boxes) if detections.scores is None else [float(s) for s in detections.scores]
    frames = [_inside(box, canvas.size) for box in boxes]
    is_thing = [labels.is_thing(label) for label in classes]
    best_first = sorted(
        range(len(frames)), key=lambda i: (not is_thing[i], -(scores[i] or 0), _area(frames[i]))
    )
    pen, width = ImageDraw.Draw(canvas), line_width(canvas.size, len(frames))
    captions = Captions(canvas, len(frames), [frames[i] for i in best_first if is_thing[i]])
    for i in reversed(best_first):
        draw = _draw_frame if is_thing[i] else _draw_thin_frame
        draw(pen, frames[i], labels.color(classes[i]), width, truth)
    for i in best_first:
        label, places = classes[i], at_corners(frames[i]) if is_thing[i] else _along(frames[i])
        captions.add(labels.names[label], scores[i], labels.color(label), places)
    captions.draw()
    return canvas


def _inside(box: NDArray[np.float64], size_wh: tuple[int, int]) -> Rectangle:
    """Whole pixels, cut at the edges of the image and at least one pixel large."""
    width, height = size_wh
    left, top = np.clip(np.floor(box[:2]), 0, (width - 1, height - 1)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(box[2:]), (left + 1, top + 1), size_wh).astype(int).tolist()
    return left, top, right, bottom


def _area(frame: Rectangle) -> int:
    return (frame[2] - frame[0]) * (frame[3] - frame[1])


def at_corners(frame: Rectangle) -> list[Place]:
    """Places for a tag at a box, best first: above it, then inside its top, then the other corners."""
    left, top, right, bottom = frame
    outside = [(x, y, a, b) for y, b in ((top, 1.0), (bottom, 0.0)) for x, a in ((left, 0.0), (right, 1.0))]
    inside = [(x, y, a, 1 - b) for x, y, a, b in outside]
    return [outside[0], inside[0], *outside[1:], *inside[1:]]


def _along(frame: Rectangle) -> list[Place]:
    """Places for the tag of a large box: inside it along its top, its bottom, and its middle."""
    left, top, right, bottom = frame
    across = [(left, 0.0), (right, 1.0), ((left + right) // 2, 0.5)]
    return [
        (x, y, a, b) for y, b in ((top, 0.0), (bottom, 1.0), ((top + bottom) // 2, 0.5)) for x, a in across
    ]


def _draw_frame(pen: ImageDraw.ImageDraw, frame: Rectangle, color: Color, width: int, dashed: bool) -> None:
    """A box of a thing: a thin rim of the contrary lightness makes it stand out on any ground."""
    left, top, right, bottom = frame
    rim = max(1, width // 3)
    outer = (left - rim, top - rim, right - 1 + rim, bottom - 1 + rim)
    pen.rectangle(outer, outline=contrast_to(color), width=width + 2 * rim)
    _draw_lines(pen, frame, color, width, dashed)


def _draw_thin_frame(
    pen: ImageDraw.ImageDraw, frame: Rectangle, color: Color, width: int, dashed: bool
) -> None:
    """A box of stuff: half as wide a line as that of a thing, without a rim."""
    _draw_lines(pen, frame, color, max(1, width // 2), dashed)


def _draw_lines(pen: ImageDraw.ImageDraw, frame: Rectangle, color: Color, width: int, dashed: bool) -> None:
    left, top, right, bottom = frame
    if not dashed:
        pen.rectangle((left, top, right - 1, bottom - 1), outline=color, width=width)
        return
    for x0, x1 in _dashes(left, right, width):
        pen.rectangle((x0, top, x1, top + width - 1), fill=color)
        pen.rectangle((x0, bottom - width, x1, bottom - 1), fill=color)
    for y0, y1 in _dashes(top, bottom, width):
        pen.rectangle((left, y0, left + width - 1, y1), fill=color)
        pen.rectangle((right - width, y0, right - 1, y1), fill=color)


def _dashes(start: int, stop: int, width: int) -> list[tuple[int, int]]:
    """First and last pixel of each dash of a line from ``start`` to before ``stop``."""
    length = _DASH * width
    return [(at, min(at + length, stop) - 1) for at in range(start, stop, 2 * length)]
