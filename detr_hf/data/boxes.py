"""What the four numbers of a box mean, judged on many boxes of a source together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate, is_number
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Source
from detr_hf.errors import UserError
from detr_hf.images import image_size

ENOUGH_TO_JUDGE = 20  # boxes from which on their format is judged by where they lie
FEW_AREAS = 3  # areas from which on the format is judged by these
MOST = 0.9  # share of boxes that must fit a format
REACH = 0.05  # share of the image by which a box of the right format may reach out of it
SLACK_PX = 1.0  # rounding
SHARE_SLACK = 0.02  # rounding and boxes drawn a little over the edge

XYWH, CORNERS = "x, y, width, height in pixels", "corners (x0, y0, x1, y1) in pixels"
SHARES, SHARE_CENTERS = "x, y, width, height as shares", "center x, center y, width, height as shares"
SHARE_CORNERS = "corners (x0, y0, x1, y1) as shares"
UNCLEAR = "unclear"


@dataclass(frozen=True)
class BoxFormat:
    """How the boxes of a source are written."""

    name: str = XYWH  # one of the constants above
    why: str = ""  # what was seen, for messages; empty for ``XYWH``

    def to_xywh(self, bbox: list[float], drawn_hw: tuple[int, int]) -> list[float]:
        """Four numbers as x, y, width, height in pixels of the image as it was annotated."""
        a, b, c, d = map(float, bbox)
        if self.name in (SHARES, SHARE_CENTERS, SHARE_CORNERS):
            height, width = drawn_hw
            a, b, c, d = a * width, b * height, c * width, d * height
        if self.name in (CORNERS, SHARE_CORNERS):
            return [a, b, c - a, d - b]
        return [a - c / 2, b - d / 2, c, d] if self.name == SHARE_CENTERS else [a, b, c, d]

    @property
    def issue(self) -> Issue | None:
        """What is to be said of a source with such boxes."""
        if self.name == XYWH:
            return None
        if self.name == UNCLEAR:
            return Issue("box-format-unclear", self.why)
        return Issue("box-format", f"these are {self.name}: {self.why}")


COCO_BOXES = BoxFormat()


def is_box(bbox: Any) -> TypeGuard[list[float]]:
    """Whether this is a list of four finite numbers that can be places in an image."""
    return isinstance(bbox, list | tuple) and len(bbox) == 4 and all(map(is_coordinate, bbox))


def box_format_of(source: Source) -> BoxFormat:
    """How the boxes of a source are written, judged on its first where its format leaves that open."""
    if source.xywh_px or source.is_panoptic:
        return COCO_BOXES
    return judge_format(source.samples())


def judge_format(samples: Iterable[Sample]) -> BoxFormat:
    """The format of the boxes of a source; ``UNCLEAR`` where they fit none.

    All boxes are judged together, by where they would lie in their images and by the areas beside them. Fewer
    than ``ENOUGH_TO_JUDGE`` boxes without areas are taken as COCO's, unless all their numbers are shares.
    """
    boxes: list[list[float]] = []
    areas: list[float] = []
    sizes: list[tuple[float, float]] = []
    for sample in samples:
        # All zero is no box at all.
        found = [one for one in sample.objects if is_box(one.bbox) and any(one.bbox)]
        if found:
            size = _size(sample)
            for one in found:
                boxes.append([float(value) for value in one.bbox])
                areas.append(float(one.area) if is_number(one.area) else np.nan)
                sizes.append(size)
    if not boxes:
        return BoxFormat()
    table = np.array(boxes, np.float64)
    return _judged(table, np.array(areas), np.array(sizes, np.float64))


def _size(sample: Sample) -> tuple[float, float]:
    """Width and height that coordinates refer to; NaN where neither source nor file tells them."""
    declared = sample.declared_hw
    if declared is not None and all(is_number(side) and side > 0 for side in declared):
        return float(declared[1]), float(declared[0])
    if sample.image is None:
        return np.nan, np.nan
    try:
        height, width = image_size(sample.image, sample.file_name)
    except UserError:
        return np.nan, np.nan
    return float(width), float(height)


def _judged(
    boxes: NDArray[np.float64], areas: NDArray[np.float64], sizes_wh: NDArray[np.float64]
) -> BoxFormat:
    a, b, c, d = boxes.T
    in_unit = (boxes >= -SHARE_SLACK).all(1) & (boxes <= 1 + SHARE_SLACK).all(1)
    if in_unit.all():
        return _shares(boxes, areas)
    width, height = sizes_wh.T
    reach_x, reach_y = np.maximum(SLACK_PX, REACH * width), np.maximum(SLACK_PX, REACH * height)
    known = ~np.isnan(width)
    outside = known & ((a + c > width + SLACK_PX) | (b + d > height + SLACK_PX))
    ordered = (c > a) & (d > b)
    as_corners = ordered & ~(known & ((c > width + reach_x) | (d > height + reach_y)))
    given = ~np.isnan(areas) & (areas > 0)
    of_corners = given & np.isclose(areas, (c - a) * (d - b), rtol=0.02, atol=1)
    of_xywh = given & np.isclose(areas, c * d, rtol=0.02, atol=1)
    judged_by_area = given.sum() >= FEW_AREAS and of_corners.sum() >= MOST * given.sum() > of_xywh.sum()
    share = outside.sum() / max(1, known.sum())
    judged_by_place = known.sum() >= ENOUGH_TO_JUDGE and share >= 0.5
    if as_corners.mean() >= MOST and ordered.all() and (judged_by_area or judged_by_place):
        why = f"{outside.sum()} of {len(boxes)} boxes reach outside their image as {XYWH}"
        if given.any():
            why += f", and {of_corners.sum()} of {given.sum()} areas are those of corners"
        return BoxFormat(CORNERS, why)
    if judged_by_place and share > 0.5:
        return BoxFormat(UNCLEAR, f"{outside.sum()} of {len(boxes)} boxes reach outside their image")
    return BoxFormat()


def _shares(boxes: NDArray[np.float64], areas: NDArray[np.float64]) -> BoxFormat:
    """All numbers are from 0 to 1: shares, of which of three kinds?"""
    a, b, c, d = boxes.T
    low, high = -SHARE_SLACK, 1 + SHARE_SLACK
    left, top, right_end, bottom = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    fits = {
        SHARES: (a + c <= high) & (b + d <= high),
        SHARE_CENTERS: (left >= low) & (top >= low) & (right_end <= high) & (bottom <= high),
        SHARE_CORNERS: (c > a) & (d > b),
    }
    right = [name for name, fit in fits.items() if fit.all()]
    right = right or [name for name, fit in fits.items() if fit.mean() >= MOST]
    if len(right) > 1 and len(areas) >= FEW_AREAS:  # several fit: the areas beside the boxes tell
        counted = {SHARE_CORNERS: (c - a) * (d - b)}
        right = [name for name in right if np.isclose(areas, counted.get(name, c * d), rtol=0.02).all()]
    if len(right) == 1:
        return BoxFormat(right[0], f"no number of {len(boxes)} boxes is larger than 1, and they fit so alone")
    many = " and as ".join(right) or "none of the usual ones"
    return BoxFormat(UNCLEAR, f"no number of {len(boxes)} boxes is larger than 1, and they fit as {many}")
