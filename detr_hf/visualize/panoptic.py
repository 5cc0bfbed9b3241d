"""Panoptic overlays: segments as colored areas with outlines and names over an image."""

from __future__ import annotations

import colorsys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.labels import Color, LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction
from detr_hf.visualize.boxes import draw_detections
from detr_hf.visualize.canvas import Captions, Place, Rectangle, enlarged, line_width

_BORDER = 245  # gray level of the lines between segments
_OVERLAY = 0.5  # share of the segment's color in a panoptic image
_OVERLAY_OF_STUFF = 0.35  # less, so that things stand out from what is around them


def draw_panoptic(
    image: NDArray[np.uint8],
    id_map: NDArray[np.integer],
    segments: Iterable[Any],
    labels: LabelMap,
    shades: Mapping[int, int] | None = None,
    names: bool = True,
) -> Image.Image:
    """Segments as colored areas with outlines and names over an image; void stays as it is.

    Args:
        image: uint8[H, W, 3].
        id_map: int[H, W], 0 is void.
        segments: (id, category_id, score or None) each, as tuples or as objects with these attributes.
        labels: gives names and colors; things of one class differ in shade.
        shades: segment id -> which thing of its class it is; by the order of ``segments`` when left out.
        names: write the names; False where boxes with names are drawn over it.

    Returns:
        an RGB image; size and left-out names as in ``draw_detections``, larger segments named first.
    """
    listed = [s if isinstance(s, tuple) else (s.id, s.category_id, s.score) for s in segments]
    base, factor = enlarged(image)
    ids = np.asarray(id_map, np.int64).repeat(factor, 0).repeat(factor, 1)
    colors = _shades([(segment_id, label) for segment_id, label, _ in listed], labels, shades or {})
    stuff = {segment_id for segment_id, label, _ in listed if not labels.is_thing(label)}
    inks = {segment[0]: color for segment, color in zip(listed, colors, strict=True)}
    canvas = painted(base, ids, inks, faint=stuff)
    if not names:
        return canvas
    boxes, areas = boxes_and_areas_of_segments(ids, np.array([segment[0] for segment in listed], np.int64))
    frames: list[Rectangle] = [tuple(box) for box in boxes.astype(int).tolist()]
    things = [frames[i] for i in range(len(listed)) if listed[i][0] not in stuff and areas[i]]
    captions = Captions(canvas, len(listed), things)
    for i in np.argsort(-areas, kind="stable").tolist():
        segment_id, label, score = listed[i]
        if areas[i]:
            x, y = _interior_point(ids, segment_id, boxes[i].astype(int))
            places: list[Place] = [(x, y, 0.5, above) for above in (0.5, 1.2, -0.2)]
            if segment_id not in stuff:  # a small one would be hidden by a name on it
                left, top, right, bottom = frames[i]
                places += [
                    (x, top, 0.5, 1.0),
                    (x, bottom, 0.5, 0.0),
                    (right, y, 0.0, 0.5),
                    (left, y, 1.0, 0.5),
                ]
            captions.add(labels.names[label], score, colors[i], places)
    captions.draw()
    return canvas


def draw_prediction(
    image: np.ndarray, predicted: Prediction, labels: LabelMap, score_threshold: float
) -> Image.Image:
    """Boxes above ``score_threshold``, or the panoptic overlay, over an image ``uint8 [H, W, 3]``."""
    if isinstance(predicted, PanopticPrediction):
        return draw_panoptic(image, predicted.id_map, predicted.segments, labels)
    return draw_detections(image, predicted.detections.above(score_threshold), labels)


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


def painted(
    base: Image.Image, ids: NDArray[np.int64], colors: Mapping[int, Color], faint: Collection[int] = ()
) -> Image.Image:
    """An image with colored segments and white lines between them.

    Args:
        base: the image.
        ids: ``int64 [H, W]``.
        colors: by id; pixels of other ids stay as they are.
        faint: ids whose color is weaker.
    """
    pixels = np.asarray(base, np.float32)
    known = np.array(sorted(colors), np.int64)
    if not len(known):
        return base
    slots = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    shown = known[slots] == ids
    paint = np.array([colors[segment_id] for segment_id in known.tolist()], np.float32)[slots]
    strengths = [_OVERLAY_OF_STUFF if one in faint else _OVERLAY for one in known.tolist()]
    share = np.where(shown, np.array(strengths, np.float32)[slots], 0)[..., None]
    mixed = (1 - share) * pixels + share * paint
    mixed[_outlines(ids, max(1, line_width(base.size, 0) - 1))] = _BORDER
    return Image.fromarray(mixed.round().astype(np.uint8))


def _outlines(ids: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Lines of about this width along the borders between segments."""
    edge = np.zeros(ids.shape, np.uint8)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    middle = (width - 1) // 2  # of an even width the larger half lies before the border
    return cv2.dilate(edge, np.ones((width, width), np.uint8), anchor=(middle, middle)) > 0


def _interior_point(ids: NDArray[np.int64], segment_id: int, box: NDArray[np.integer]) -> tuple[int, int]:
    """(x, y) deep inside a segment: in the middle of what lies farthest from its edges."""
    left, top, right, bottom = box.tolist()
    step = max(1, max(right - left, bottom - top) // 96)
    mask = np.pad(ids[top:bottom:step, left:right:step] == segment_id, 1)
    if not mask.any():  # thinner than the step
        mask, step = np.pad(ids[top:bottom, left:right] == segment_id, 1), 1
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L1, 3)
    rows, columns = np.nonzero(depth == depth.max())
    center = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return left + int(columns[center] - 1) * step, top + int(rows[center] - 1) * step
