"""The shapes of CVAT's XML: boxes, polygons, ellipses and painted masks.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Coordinates are pixels from the left
top corner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from detr_hf.data.numbers import is_coordinate
from detr_hf.data.sources.shapes import ellipse, placed_mask, rotated_box
from detr_hf.data.xml_files import number_in
from detr_hf.images import MAX_PIXELS

CORNERS = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
}
SHAPES = ("polygon", *CORNERS)
KEPT = ("z_order", "group_id", "source", "rotation")

Drawn = tuple[Any, Any, tuple[str, str] | None]
"""Box and outline in pixels, and code and text of an issue."""


def drawn(shape: Element, size: Callable[[], tuple[int, int] | None]) -> Drawn:
    """What a shape draws; what is no number is left for `repair` to judge.

    Args:
        shape: of one of ``SHAPES``.
        size: gives height and width of the image, where these can be known; masks need them.
    """
    if shape.tag == "polygon":
        words = [word for pair in shape.get("points", "").split(";") for word in pair.split(",")]
        return None, [[number_in(word) for word in words]], None
    names = CORNERS[shape.tag]
    found = [number_in(shape.get(name, "0" if name == "rotation" else None)) for name in (*names, "rotation")]
    values = [value for value in found if is_coordinate(value)]
    if len(values) < len(found):
        return [shape.get(name) for name in names], None, None
    x0, y0, x1, y1, rotation = values
    if shape.tag == "ellipse":
        return None, [ellipse(x0, y0, x1, y1, rotation)], None
    if shape.tag == "mask":
        frame = [int(x0), int(y0), int(x1), int(y1)]
        mask = _mask(shape.get("rle", ""), frame, size())
        return (None, mask, None) if isinstance(mask, dict) else (frame, None, ("rle-invalid", mask))
    box = [x0, y0, x1 - x0, y1 - y0]
    if rotation % 360 == 0:
        return box, None, None
    outline = rotated_box(x0, y0, x1 - x0, y1 - y0, rotation, ((x0 + x1) / 2, (y0 + y1) / 2))
    return None, [outline], ("box-rotated", f"by {rotation:g} degrees")


def _mask(rle: str, frame: list[int], size_hw: tuple[int, int] | None) -> dict[str, Any] | str:
    """A painted mask from lengths row by row within its own frame, beginning with unset; or what is wrong."""
    left, top, width, height = frame
    if size_hw is None:
        return "its image has no known size"
    try:
        runs = np.array([int(word) for word in rle.split(",")], np.int64)
    except (ValueError, OverflowError):
        runs = np.array([-1])
    total = width * height
    # Each run counts at most what an image holds, so that the sum cannot wrap around.
    is_bounded = 0 < total <= MAX_PIXELS and width > 0 and runs.min() >= 0 and runs.max() <= total
    if not is_bounded or runs.sum() != total:
        return "its runs do not fill its frame"
    inner = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return placed_mask(inner, left, top, size_hw)


def extra_of(shape: Element) -> dict[str, Any]:
    """What CVAT says besides: attributes by name, and whether the object is partly hidden."""
    extra: dict[str, Any] = {name: shape.get(name) for name in KEPT if shape.get(name)}
    if shape.get("occluded") is not None:
        extra["occluded"] = shape.get("occluded") == "1"
    attributes = {one.get("name", ""): one.text or "" for one in shape.iter("attribute")}
    return extra | ({"attributes": attributes} if attributes else {})
