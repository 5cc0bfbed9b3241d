"""The regions of a Label Studio annotation as annotations in pixels.

Format: https://labelstud.io/guide/export#Units-of-image-annotations and the pages of the tags, such as
https://labelstud.io/tags/rectanglelabels. Values are percent of the image as browsers show it, upright.
``image_rotation`` is how the annotator turned the view; coordinates are of the image that is not turned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate
from detr_hf.data.repair_objects import encoded_mask
from detr_hf.data.sample import Annotation
from detr_hf.data.sources.label_studio_brush import decoded_brush

ELLIPSE_POINTS = 64  # a multiple of 4, so that an upright ellipse touches its box
DIGITS = 3
TOOLS = ("rectangle", "polygon", "brush", "ellipse")
SHAPE_TYPES = {"labels", *TOOLS, *(f"{tool}labels" for tool in TOOLS)}
MARKS_OF_SHAPES = ("rle", "points", "radiusX", "height")  # a key point has a width alone


@dataclass
class Regions:
    """Turns the results of one image into annotations and remembers what it found.

    Args:
        size_hw: of the image, in pixels.
        file: the image, for issues.
    """

    size_hw: tuple[int, int]
    file: str
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
            rest = parts if shape is None else [part for part in parts if _type(part) not in SHAPE_TYPES]
            others.update(map(_type, rest))
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
        label = labels[0] if labels else None
        return Annotation(
            id=number,
            category=label,
            bbox=bbox,
            segmentation=segmentation,
            where=where,
            category_id=label,
            extra={"id": shape.get("id")},
        )

    def _drawn(self, value: dict[str, Any], where: str) -> tuple[Any, Any]:
        """Box and outline in pixels; what is no number is left for `repair` to judge."""
        if "rle" in value:
            mask = decoded_brush(value["rle"], self.size_hw)
            if mask is None:
                height, width = self.size_hw
                self._note("rle-invalid", f"{where}: its runs are damaged, or not of {width}x{height}")
                return None, None
            return None, encoded_mask(mask)
        if "points" in value:
            return None, [self._polygon(value["points"])]
        if "radiusX" in value:
            numbers = self._pixels(value, "x", "y", "radiusX", "radiusY")
            if numbers is None:
                return [value.get(key) for key in ("x", "y", "radiusX", "radiusY")], None
            return None, [_ellipse(numbers, _rotation(value))]
        numbers = self._pixels(value, "x", "y", "width", "height")
        if numbers is None:
            return [value.get(key) for key in ("x", "y", "width", "height")], None
        rotation = _rotation(value)
        if rotation % 360 == 0:
            return numbers, None
        self._note("box-rotated", f"{where}: by {rotation:g} degrees")
        x, y, w, h = numbers
        corners = _turned(np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]), (x, y), rotation)
        low, high = corners.min(0), corners.max(0)
        return [*low.round(DIGITS).tolist(), *(high - low).round(DIGITS).tolist()], [_flat(corners)]

    def _pixels(self, value: dict[str, Any], *keys: str) -> list[float] | None:
        """Percent of width, height, width, height in pixels; None where one is no number."""
        found = [value.get(key) for key in keys]
        if not all(map(is_coordinate, found)):
            return None
        height, width = self.size_hw
        sides = (width, height, width, height)
        return [float(one) * side / 100 for one, side in zip(found, sides, strict=True)]  # type: ignore[arg-type]

    def _polygon(self, points: Any) -> list[Any]:
        height, width = self.size_hw
        flat: list[Any] = []
        for point in points if isinstance(points, list) else [points]:
            if isinstance(point, list) and len(point) == 2 and all(map(is_coordinate, point)):
                flat += [point[0] * width / 100, point[1] * height / 100]
            else:
                flat += [point, point]
        return flat


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


def _rotation(value: dict[str, Any]) -> float:
    rotation = value.get("rotation")
    return float(rotation) if is_coordinate(rotation) else 0.0


def _ellipse(numbers: list[float], rotation: float) -> list[float]:
    x, y, radius_x, radius_y = numbers
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], 1)
    return _flat(_turned(points, (x, y), rotation))


def _turned(points: NDArray[np.float64], center: tuple[float, float], degrees: float) -> NDArray[np.float64]:
    """Points [N, 2] in pixels, turned clockwise as it is shown: y points down."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - center) @ turn + center


def _flat(points: NDArray[np.float64]) -> list[float]:
    return points.round(DIGITS).ravel().tolist()
