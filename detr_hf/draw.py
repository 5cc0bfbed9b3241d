"""Pictures of results: boxes, panoptic overlays and sheets of pictures, with Pillow and numpy alone.

Lines and letters grow with the picture, and small pictures are enlarged, so that names can be read.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detr_hf.captions import WHITE, Captions, Place, Rectangle, contrast_to, font_for, shortened
from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.labels import Color, LabelMap

_SMALLEST_EDGE = 400  # a shorter edge below this is enlarged by a whole factor,
_MOST_ENLARGED = 8  # but by no more than this
_DASH = 4  # length of the dashes of true boxes, in line widths
_BORDER = 245  # gray level of the lines between segments
_OVERLAY = 0.5  # share of the segment's color in a panoptic picture


class BoxesLike(Protocol):
    """What ``draw_detections`` reads: boxes [N, 4] in pixels, class ids [N], and scores [N] or None."""

    boxes_xyxy_px: Any
    labels: Any
    scores: Any


@dataclass
class TrueBoxes:
    """True boxes in the form that drawing takes: ``float [N, 4]`` pixels, class ids ``[N]``, no scores."""

    boxes_xyxy_px: NDArray[Any]
    labels: NDArray[Any]
    scores: None = None


def draw_detections(
    image: NDArray[np.uint8], detections: BoxesLike, labels: LabelMap, truth: bool = False
) -> Image.Image:
    """Boxes with names and scores over a picture.

    Args:
        image: uint8[H, W, 3].
        detections: see ``BoxesLike``; without scores only names are written.
        labels: gives names and colors.
        truth: draw with dashed lines, as ground truth.

    Returns:
        an RGB picture, a whole number of times larger than ``image`` if that is small. Better scores lie on
        top. Names that find no room are left out and counted in the lower right corner.
    """
    canvas, factor = _enlarged(image)
    boxes = np.asarray(detections.boxes_xyxy_px, np.float64).reshape(-1, 4) * factor
    classes = np.asarray(detections.labels, np.int64).reshape(-1).tolist()
    scores = (
        [None] * len(boxes) if detections.scores is None else [float(score) for score in detections.scores]
    )
    frames = [_inside(box, canvas.size) for box in boxes]
    best_first = sorted(range(len(frames)), key=lambda i: (-(scores[i] or 0), _area(frames[i])))
    pen, width = ImageDraw.Draw(canvas), _line_width(canvas.size, len(frames))
    captions = Captions(canvas, len(frames))
    for i in reversed(best_first):
        _draw_frame(pen, frames[i], labels.color(classes[i]), width, dashed=truth)
    for i in best_first:
        label, places = classes[i], _at_corners(frames[i])
        captions.add(labels.names[label], scores[i], labels.color(label), places)
    captions.draw()
    return canvas


def draw_panoptic(
    image: NDArray[np.uint8],
    id_map: NDArray[np.integer],
    segments: Iterable[Any],
    labels: LabelMap,
    shades: Mapping[int, int] | None = None,
) -> Image.Image:
    """Segments as colored areas with outlines and names over a picture; void stays as it is.

    Args:
        image: uint8[H, W, 3].
        id_map: int[H, W], 0 is void.
        segments: (id, category_id, score or None) each, as tuples or as objects with these attributes.
        labels: gives names and colors; things of one class differ in shade.
        shades: segment id -> which thing of its class it is; by the order of ``segments`` when left out.

    Returns:
        an RGB picture; size and left-out names as in ``draw_detections``, larger segments named first.
    """
    listed = [s if isinstance(s, tuple) else (s.id, s.category_id, s.score) for s in segments]
    base, factor = _enlarged(image)
    ids = np.asarray(id_map, np.int64).repeat(factor, 0).repeat(factor, 1)
    colors = _shades([(segment_id, label) for segment_id, label, _ in listed], labels, shades or {})
    canvas = painted(base, ids, {segment[0]: color for segment, color in zip(listed, colors, strict=True)})
    boxes, areas = boxes_and_areas_of_segments(ids, np.array([segment[0] for segment in listed], np.int64))
    captions = Captions(canvas, len(listed))
    for i in np.argsort(-areas, kind="stable").tolist():
        segment_id, label, score = listed[i]
        if areas[i]:
            x, y = _interior_point(ids, segment_id, boxes[i].astype(int))
            places = [(x, y, 0.5, above) for above in (0.5, 1.2, -0.2)]
            captions.add(labels.names[label], score, colors[i], places)
    captions.draw()
    return canvas


def contact_sheet(
    images: Sequence[Image.Image | NDArray[np.uint8]],
    columns: int = 2,
    titles: Sequence[str] | None = None,
    cell_width: int = 480,
) -> Image.Image:
    """Pictures on a white sheet, row by row, each ``cell_width`` pixels wide with its title above."""
    assert images, "a sheet shows at least one picture"
    assert titles is None or len(titles) == len(images), "one title per picture"
    gap, columns = max(6, cell_width // 40), min(columns, len(images))
    cells = [
        _cell(image, None if titles is None else titles[i], cell_width) for i, image in enumerate(images)
    ]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (columns * (cell_width + gap) + gap, sum(heights) + gap * (len(rows) + 1))
    sheet, top = Image.new("RGB", size, WHITE), gap
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (gap + column * (cell_width + gap), top))
        top += height + gap
    return sheet


def _cell(image: Image.Image | NDArray[np.uint8], title: str | None, width: int) -> Image.Image:
    """One picture of a sheet, scaled to the width, with its title above."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    height = max(1, round(picture.height * width / picture.width))
    picture = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    if title is None:
        return picture
    size = max(11, width // 28)
    head = 3 * size // 2
    cell = Image.new("RGB", (width, height + head), WHITE)
    title = shortened(title, size, width)
    ImageDraw.Draw(cell).text(
        (0, head // 2), title, fill=(30, 30, 30), font=font_for(title, size), anchor="lm"
    )
    cell.paste(picture, (0, head))
    return cell


def _enlarged(image: NDArray[np.uint8]) -> tuple[Image.Image, int]:
    """The picture as it is drawn on, and how many times larger that is."""
    picture = Image.fromarray(np.asarray(image, np.uint8)).convert("RGB")
    factor = min(_MOST_ENLARGED, max(1, -(-_SMALLEST_EDGE // min(picture.size))))
    size = (picture.width * factor, picture.height * factor)
    return (picture if factor == 1 else picture.resize(size, Image.Resampling.BICUBIC)), factor


def _line_width(size_wh: tuple[int, int], count: int) -> int:
    across = (size_wh[0] * size_wh[1]) ** 0.5
    return max(1, round(across / (320 if count <= 40 else 480)))


def _inside(box: NDArray[np.float64], size_wh: tuple[int, int]) -> Rectangle:
    """Whole pixels, cut at the edges of the picture and at least one pixel large."""
    width, height = size_wh
    left, top = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.floor(box[1]), 0, height - 1))
    right, bottom = (
        int(np.clip(np.ceil(box[2]), left + 1, width)),
        int(np.clip(np.ceil(box[3]), top + 1, height)),
    )
    return left, top, right, bottom


def _area(frame: Rectangle) -> int:
    return (frame[2] - frame[0]) * (frame[3] - frame[1])


def _at_corners(frame: Rectangle) -> list[Place]:
    """Places for a tag at a box, best first: above it, then inside its top, then the other corners."""
    left, top, right, bottom = frame
    outside = [
        (left, top, 0.0, 1.0),
        (right, top, 1.0, 1.0),
        (left, bottom, 0.0, 0.0),
        (right, bottom, 1.0, 0.0),
    ]
    inside = [
        (left, top, 0.0, 0.0),
        (right, top, 1.0, 0.0),
        (left, bottom, 0.0, 1.0),
        (right, bottom, 1.0, 1.0),
    ]
    return [outside[0], inside[0], *outside[1:], *inside[1:]]


def _draw_frame(pen: ImageDraw.ImageDraw, frame: Rectangle, color: Color, width: int, dashed: bool) -> None:
    """A box in its color with a thin rim of the contrary lightness, so that it stands out on any ground."""
    left, top, right, bottom = frame
    rim = max(1, width // 3)
    outer = (left - rim, top - rim, right - 1 + rim, bottom - 1 + rim)
    pen.rectangle(outer, outline=contrast_to(color), width=width + 2 * rim)
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


def _shades(segments: Sequence[tuple[int, int]], labels: LabelMap, shades: Mapping[int, int]) -> list[Color]:
    """A color per segment: the class color, shifted in hue and lightness from one thing to the next."""
    seen: dict[int, int] = {}
    colors = []
    for segment_id, label in segments:
        nth = shades.get(segment_id, seen.get(label, 0))
        seen[label] = seen.get(label, 0) + 1
        colors.append(_shade(labels.color(label), nth) if labels.is_thing(label) else labels.color(label))
    return colors


def _shade(color: Color, nth: int) -> Color:
    hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in color))
    swing = (0, 1, -1, 2, -2)[nth % 5]
    hue = (hue + 0.035 * swing) % 1
    value = min(1.0, max(0.35, value + (0, -0.22, 0.18, 0.1, -0.3)[nth % 5]))
    saturation = min(1.0, max(0.0, saturation - (0, 0, 0.3, 0.15, 0.1)[nth % 5]))
    red, green, blue = (round(255 * level) for level in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def painted(base: Image.Image, ids: NDArray[np.int64], colors: Mapping[int, Color]) -> Image.Image:
    """A picture with colored segments and white lines between them; ``ids`` is [H, W], others stay bare."""
    pixels = np.asarray(base, np.float32)
    known = np.array(sorted(colors), np.int64)
    if not len(known):
        return base
    slots = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    shown = known[slots] == ids
    paint = np.array([colors[segment_id] for segment_id in known.tolist()], np.float32)[slots]
    mixed = np.where(shown[..., None], (1 - _OVERLAY) * pixels + _OVERLAY * paint, pixels)
    mixed[_outlines(ids, max(1, _line_width(base.size, 0) - 1))] = _BORDER
    return Image.fromarray(mixed.round().astype(np.uint8))


def _outlines(ids: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Lines of about this width along the borders between segments."""
    edge = np.zeros(ids.shape, bool)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    for step in range(1, width):
        thin, wide = edge, edge.copy()
        here, there = (slice(1, None), slice(None, -1))[:: 1 if step % 2 else -1]
        wide[there] |= thin[here]
        wide[:, there] |= thin[:, here]
        edge = wide
    return edge


def _interior_point(ids: NDArray[np.int64], segment_id: int, box: NDArray[np.integer]) -> tuple[int, int]:
    """(x, y) deep inside a segment: what is left last when its edges are worn away step by step."""
    left, top, right, bottom = box.tolist()
    step = max(1, max(right - left, bottom - top) // 96)
    mask = np.pad(ids[top:bottom:step, left:right:step] == segment_id, 1)
    if not mask.any():  # thinner than the step
        mask, step = np.pad(ids[top:bottom, left:right] == segment_id, 1), 1
    worn = mask
    while worn.any():
        mask = worn
        worn = mask.copy()
        worn[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    rows, columns = np.nonzero(mask)
    center = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return left + int(columns[center] - 1) * step, top + int(rows[center] - 1) * step
