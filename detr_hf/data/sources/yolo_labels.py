"""The lines of a YOLO label file: boxes, outlines, and what is neither.

Formats: https://docs.ultralytics.com/datasets/detect (``class x_center y_center width height``), .../segment
(``class x1 y1 x2 y2 x3 y3 ...``), .../pose and .../obb; all in shares of the upright image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, read_bytes

MAX_LABEL_BYTES = 64_000_000
MOST_SHARE = 2.0  # boxes may reach over the edge of their image; what is further out counts pixels
FEWEST_VALUES = 5  # of a line: the class and a box
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class LabelFormat:
    """How the lines of a data set are read.

    Attributes:
        names: of the classes, by number.
        pose_values: how many values of a pose follow a box (``kpt_shape``); 0 where there are none.
    """

    names: Mapping[int, str]
    pose_values: int = 0


class LineError(Exception):
    """A line that is no object; its issue's code and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_label_text(path: Path, name: str) -> str:
    """A label file; bytes that are no UTF-8 are replaced, so that their line is told.

    Raises:
        UserError: it is no regular file, cannot be read, or is too large.
    """
    return read_bytes(path, MAX_LABEL_BYTES, "label file", name).decode("utf-8-sig", "replace")


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of all lines that are not blank."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip(" \t\0\x1a"):
            yield number, line


def looks_like_labels(path: Path) -> bool:
    """Whether the first line of a file reads as an object's; never raises."""
    try:
        with open_file(path) as file:
            head = file.read(20_000).decode("utf-8-sig", "replace")
        first = next(lines_of(head), (0, ""))[1]
        values, _ = _numbers(first)
    except Exception:  # whatever is wrong with it, it is no label file
        return False
    return len(values) >= FEWEST_VALUES and values[0].is_integer() and 0 <= values[0] < 1e6


def annotations_of(
    text: str, size_hw: tuple[int, int], form: LabelFormat, label_file: str, file: str
) -> tuple[list[Annotation], list[Issue]]:
    """The objects of a label file in pixels, and the lines that are none.

    Args:
        text: of the file.
        size_hw: of the upright image, in pixels.
        form: how its lines are read.
        label_file, file: names of the label file and of the image, for issues.
    """
    objects, issues = [], []
    for number, line in lines_of(text):
        try:
            values, has_comma = _numbers(line)
            objects.append(_annotation(values, size_hw, form, number))
        except LineError as error:
            issues.append(Issue(error.code, f"{label_file}, line {number}: {error}", file))
            continue
        if has_comma:
            issues.append(Issue("odd-type", f"{label_file}, line {number}: decimal commas", file))
    return objects, issues


def _numbers(line: str) -> tuple[list[float], bool]:
    """The values of a line, and whether some have a decimal comma; commas may also stand between them."""
    words = line.split()
    if len(words) == 1:
        words = [word for word in line.strip().split(";" if ";" in line else ",") if word]
    has_comma = any(_DECIMAL_COMMA.fullmatch(word) for word in words)
    try:
        values = [float(word.replace(",", ".") if has_comma else word.rstrip(",;")) for word in words]
    except ValueError:
        raise LineError("entry-invalid", f"'{_short(line)}' is no row of numbers") from None
    return values, has_comma


def _annotation(values: list[float], size_hw: tuple[int, int], form: LabelFormat, number: int) -> Annotation:
    if len(values) < FEWEST_VALUES:
        raise LineError("entry-invalid", f"{len(values)} values; a box has {FEWEST_VALUES}")
    if not values[0].is_integer():
        raise LineError("entry-invalid", f"class {values[0]:g} is no whole number")
    shape, score = _shape_and_score(values[1:], form)
    beyond = [value for value in shape if abs(value) > MOST_SHARE and math.isfinite(value)]
    if beyond:
        raise LineError(
            "box-malformed",
            f"{beyond[0]:g} is no share of the image from 0 to 1; were pixels written?",
        )
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
        category=form.names.get(category_id),
        bbox=bbox,
        segmentation=outline,
        where=f"line {number}",
        category_id=category_id,
        score=score,
    )


def _shape_and_score(values: list[float], form: LabelFormat) -> tuple[list[float], float | None]:
    """The box or outline of a line, and the confidence that Ultralytics writes behind predictions.

    An odd number of values has one; but where it is no share, it is the number of a track.
    """
    if form.pose_values and len(values) == 4 + form.pose_values:
        return values[:4], None
    if len(values) % 2 == 0:
        return values, None
    score = values[-1]
    return values[:-1], score if 0 <= score <= 1 else None


def _short(line: str) -> str:
    return line.strip()[:60]


def class_numbers(path: Path, name: str) -> set[int]:
    """The classes in a label file; empty where it cannot be read."""
    found = set()
    try:
        lines = list(lines_of(read_label_text(path, name)))
    except UserError:
        return set()
    for _, line in lines:
        try:
            values, _ = _numbers(line)
        except LineError:
            continue
        if len(values) >= FEWEST_VALUES and values[0].is_integer() and values[0] >= 0:
            found.add(int(values[0]))
    return found
