"""The regions of a Label Studio annotation as annotations in pixels.

Format: https://labelstud.io/guide/export#Units-of-image-annotations and the pages of the tags, such as
https://labelstud.io/tags/rectanglelabels. Values are percent of the image as browsers show it, upright.
``image_rotation`` is how the annotator turned the view; coordinates are of the image that is not turned.

Brush masks are run lengths of an RGBA image, in a bit stream
(https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack). Bits, highest first: 32 for the number of
values, 5 for the bits of a value less one, four times 4 for the bits of a length less one; then blocks: one
bit that says whether a value repeats, 2 that choose how many bits the length has, the length less one, and
one value or as many as the length says. A value is a byte of R, G, B or alpha, row by row; what has alpha is
painted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate
from detr_hf.data.repair_objects import encoded_mask
from detr_hf.data.sample import Annotation
from detr_hf.data.sources.shapes import ellipse, rotated_box
from detr_hf.images import MAX_PIXELS

TOOLS = ("rectangle", "polygon", "brush", "ellipse")
SHAPE_TYPES = {"labels", *TOOLS, *(f"{tool}labels" for tool in TOOLS)}
MARKS_OF_SHAPES = ("rle", "points", "radiusX", "height")  # a key point has a width alone
CHANNELS, VALUE_BITS = 4, 8


@dataclass
class Regions:
    """Turns the results of one image into annotations and remembers what it found."""

    size_hw: tuple[int, int]  # of the image, in pixels
    file: str  # the image, for issues
    issues: list[Issue] = field(default_factory=list)

    def annotations(self, results: list[Any]) -> list[Annotation]:
        """One for each region that is a shape.

        The label of a region may be in its shape (RectangleLabels) or beside it (Labels with Rectangle): what
        has one ``id`` is one region.
        """
        regions: dict[Any, list[dict[str, Any]]] = {}
        for position, result in enumerate(results):
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                key = result.get("id")
                regions.setdefault(key if isinstance(key, str | int) else (position,), []).append(result)
            elif isinstance(result, dict):  # relations and the like
                regions[position,] = [{"type": result.get("type"), "value": {}}]
            else:
                self._note("entry-invalid", f"result {position + 1} is a {type(result).__name__}")
        others: Counter[str] = Counter()
        found = []
        for number, (key, parts) in enumerate(regions.items(), start=1):
            shape = next((part for part in parts if is_shape(part)), None)
            others.update(_type(part) for part in parts if shape is None or _type(part) not in SHAPE_TYPES)
            if shape is not None:
                where = f"region {number}" if isinstance(key, tuple) else f"region {str(key)[:40]}"
                found.append(self._annotation(shape, parts, number, where))
        if others:
            self._note("not-taken", ", ".join(f"{count} {name}" for name, count in sorted(others.items())))
        return found

    def _note(self, code: str, text: str) -> None:
        self.issues.append(Issue(code, text, self.file))

    def _annotation(
        self, shape: dict[str, Any], parts: list[dict[str, Any]], number: int, where: str
    ) -> Annotation:
        labels = next((labels for part in parts if (labels := _labels(part))), [])
        if len(labels) > 1:
            self._note("not-taken", f"{where}: of its labels {', '.join(labels)[:200]} the first is taken")
        bbox, segmentation = self._drawn(shape["value"], where)
        label, extra, said = labels[0] if labels else None, {"id": shape.get("id")}, shape.get("score")
        score = float(said) if is_coordinate(said) and 0 <= said <= 1 else None
        found = Annotation(number, label, bbox, segmentation, where=where, category_id=label, extra=extra)
        return replace(found, score=score)

    def _drawn(self, value: dict[str, Any], where: str) -> tuple[Any, Any]:
        """Box and outline in pixels; what is no number is left for `repair` to judge."""
        height, width = self.size_hw
        if "rle" in value:
            mask = decoded_brush(value["rle"], self.size_hw)
            if mask is None:
                self._note("rle-invalid", f"{where}: its runs are damaged, or not of {width}x{height}")
            return None, None if mask is None else encoded_mask(mask)
        if "points" in value:
            points = value["points"] if isinstance(value["points"], list) else [value["points"]]
            return None, [[one for point in points for one in self._point(point)]]
        sides = ("radiusX", "radiusY") if "radiusX" in value else ("width", "height")
        percent: list[Any] = [value.get(key) for key in ("x", "y", *sides)]
        if not all(map(is_coordinate, percent)):
            return percent, None
        x, y, w, h = (one * side / 100 for one, side in zip(percent, (width, height) * 2, strict=True))
        turn = value.get("rotation")
        rotation = float(turn) if is_coordinate(turn) else 0.0
        if "radiusX" in value:
            return None, [ellipse(x, y, w, h, rotation)]
        if rotation % 360 == 0:
            return [x, y, w, h], None
        self._note("box-rotated", f"{where}: by {rotation:g} degrees")
        return None, [rotated_box(x, y, w, h, rotation, (x, y))]

    def _point(self, point: Any) -> list[Any]:
        if isinstance(point, list) and len(point) == 2 and all(map(is_coordinate, point)):
            return [point[0] * self.size_hw[1] / 100, point[1] * self.size_hw[0] / 100]
        return [point, point]


def is_shape(result: Any) -> bool:
    """Whether a result draws something that is read."""
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict) or "sequence" in value:  # a track in a video
        return False
    return any(mark in value for mark in MARKS_OF_SHAPES) and "keypointlabels" not in value


def labels_in(results: list[Any]) -> Iterator[str]:
    """The labels of results that are shapes."""
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and (_type(result) in SHAPE_TYPES or is_shape(result)):
            yield from _labels(result)


def _labels(result: dict[str, Any]) -> list[str]:
    """ "rectanglelabels", "labels" and so on: each tag has its own."""
    for key, labels in result["value"].items():
        if str(key).endswith("labels") and isinstance(labels, list):
            return [label for label in labels if isinstance(label, str) and label.strip()]
    return []


def _type(result: dict[str, Any]) -> str:
    return str(result.get("type"))[:40]


def decoded_brush(rle: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask bool [H, W] of an ``rle``; None where it is damaged or of another size.

    Only the alpha channel is kept, so that a mask takes one byte a pixel.
    """
    height, width = size_hw
    if not isinstance(rle, list) or not 0 < height * width <= MAX_PIXELS:
        return None
    try:
        return _decoded(_Bits(bytes(rle)), height * width).reshape(height, width)
    except (TypeError, ValueError, EOFError):  # values that are no bytes, or an end too early
        return None


def _decoded(bits: _Bits, pixels: int) -> NDArray[np.bool_]:
    total = bits.read(32)
    if total != pixels * CHANNELS or bits.read(5) + 1 != VALUE_BITS:
        raise ValueError
    length_bits = [bits.read(4) + 1 for _ in range(4)]
    painted = np.zeros(pixels, bool)
    done = 0
    while done < total:
        repeats = bits.read(1)
        length = bits.read(length_bits[bits.read(2)]) + 1
        # Alpha is value 4 p + 3 of pixel p, so that these are the pixels whose alpha is in the block.
        end = min(done + length, total)
        first, last = done // CHANNELS, end // CHANNELS
        if repeats:
            painted[first:last] = bits.read(VALUE_BITS) > 0
        else:
            values = bits.read_bytes(length)
            painted[first:last] = values[CHANNELS * first + 3 - done : end - done : CHANNELS] > 0
        done = end
    return painted


class _Bits:
    """Numbers from a stream of bits."""

    def __init__(self, content: bytes) -> None:
        self._bits, self._place = np.unpackbits(np.frombuffer(content, np.uint8)), 0

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        """The next ``count`` bytes, which need not begin where a byte does."""
        return self._packed(8 * count)

    def read(self, count: int) -> int:
        """A number of ``count`` bits."""
        return int.from_bytes(self._packed(count).tobytes(), "big") >> -count % 8

    def _packed(self, count: int) -> NDArray[np.uint8]:
        """The next bits in bytes; the last is filled up with zeros."""
        self._place += count
        if self._place > len(self._bits):
            raise EOFError
        return np.packbits(self._bits[self._place - count : self._place])
