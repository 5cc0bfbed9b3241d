"""The lines of a YOLO label file: boxes, outlines, and what is neither.

Formats: https://docs.ultralytics.com/datasets/detect (``class x_center y_center width height``), .../segment
(``class x1 y1 x2 y2 x3 y3 ...``), .../pose and .../obb; all in shares of the upright image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from detr_hf.data.sample import Annotation
from detr_hf.data.sources.base import head_of
from detr_hf.errors import quantity
from detr_hf.foreign_files import read_bytes

MAX_LABEL_BYTES = 64_000_000
MOST_SHARE = 2.0  # boxes may reach over the edge of their image; what is further out counts pixels
FEWEST_VALUES = 5  # of a line: the class and a box


class LineError(Exception):
    """A line that is no object; its issue's code and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_lines(path: Path, name: str) -> list[tuple[int, str]]:
    """(number from 1, line) of a label file; bytes that are no UTF-8 are replaced, and so their line is told.

    Raises:
        UserError: it is no regular file, cannot be read, or is too large.
    """
    return list(lines_of(read_bytes(path, MAX_LABEL_BYTES, "label file", name)))


def lines_of(content: bytes) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of all lines that are not blank."""
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), start=1):
        if line.strip(" \t\0\x1a"):
            yield number, line


def looks_like_labels(path: Path) -> bool:
    """Whether the first line of a file reads as an object's; never raises."""
    try:
        values = _numbers(next(lines_of(head_of(path)), (0, ""))[1])
    except LineError:
        return False
    return len(values) >= FEWEST_VALUES and values[0].is_integer() and 0 <= values[0] < 1e6


def annotations_of(
    lines: list[tuple[int, str]], size_hw: tuple[int, int], names: Mapping[int, str], is_pose: bool
) -> tuple[list[Annotation], list[tuple[str, str]]]:
    """The objects of a label file in pixels, and codes and texts of issues for the lines that are none.

    Args:
        lines: with their numbers.
        size_hw: of the upright image, in pixels.
        names: of the classes, by number.
        is_pose: whether the values of a pose follow each box (``kpt_shape``).
    """
    objects, issues = [], []
    for number, line in lines:
        try:
            objects.append(_annotation(_numbers(line), size_hw, names, is_pose, number))
        except LineError as error:
            issues.append((error.code, f"line {number}: {error}"))
    return objects, issues


def _numbers(line: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        raise LineError("entry-invalid", f"'{line.strip()[:60]}' is no row of numbers") from None


def _annotation(
    values: list[float], size_hw: tuple[int, int], names: Mapping[int, str], is_pose: bool, number: int
) -> Annotation:
    if len(values) < FEWEST_VALUES:
        raise LineError("entry-invalid", f"{quantity(len(values), 'value')}; a box has {FEWEST_VALUES}")
    if not values[0].is_integer():
        raise LineError("entry-invalid", f"class {values[0]:g} is no whole number")
    shape, score = values[1:], None
    if is_pose:
        shape = shape[:4]
    elif len(shape) % 2:
        # The confidence that Ultralytics writes behind predictions; where it is no share, a track's number.
        *shape, last = shape
        score = last if 0 <= last <= 1 else None
    if beyond := [value for value in shape if abs(value) > MOST_SHARE and math.isfinite(value)]:
        text = f"{beyond[0]:g} is no share of the image from 0 to 1; were pixels written?"
        raise LineError("box-malformed", text)
    height, width = size_hw
    bbox, outline = None, None
    if len(shape) == 4:
        center_x, center_y, w, h = shape
        bbox = [(center_x - w / 2) * width, (center_y - h / 2) * height, w * width, h * height]
    else:
        outline = [[value * (height if place % 2 else width) for place, value in enumerate(shape)]]
    category_id = int(values[0])
    return Annotation(
        id=number,
        category=names.get(category_id),
        bbox=bbox,
        segmentation=outline,
        where=f"line {number}",
        category_id=category_id,
        score=score,
    )
