"""The format of a source's boxes, judged on many of them, and never by halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.data.boxes import (
    CORNERS,
    SHARE_CENTERS,
    SHARE_CORNERS,
    SHARES,
    UNCLEAR,
    XYWH,
    BoxFormat,
    is_box,
    judge_format,
)
from detr_hf.data.sample import Annotation, Sample

SIZE_HW = (48, 64)


def boxes(count: int, seed: int = 0) -> list[list[float]]:
    """x, y, width, height in pixels, anywhere in the image."""
    rng = np.random.default_rng(seed)
    x0, x1 = np.sort(rng.uniform(0, 64, (2, count)), axis=0)
    y0, y1 = np.sort(rng.uniform(0, 48, (2, count)), axis=0)
    return np.stack([x0, y0, x1 - x0 + 0.5, y1 - y0 + 0.5], 1).clip(0, 63).tolist()


def written_as(name: str, box: list[float]) -> list[float]:
    x, y, w, h = box
    pixels = {
        XYWH: [x, y, w, h],
        SHARES: [x, y, w, h],
        CORNERS: [x, y, x + w, y + h],
        SHARE_CORNERS: [x, y, x + w, y + h],
        SHARE_CENTERS: [x + w / 2, y + h / 2, w, h],
    }[name]
    scale = (1, 1, 1, 1) if name in (XYWH, CORNERS) else (64, 48, 64, 48)
    return [value / by for value, by in zip(pixels, scale, strict=True)]


def judged(found: list[list[float]], declared: Any = SIZE_HW, areas: list[Any] | None = None) -> BoxFormat:
    areas = areas or [None] * len(found)
    objects = [Annotation(1, "a", box, area=area) for box, area in zip(found, areas, strict=True)]
    return judge_format([Sample(Path("none.png"), "none.png", 1, objects, declared)])


@pytest.mark.parametrize("name", [XYWH, CORNERS, SHARES, SHARE_CENTERS, SHARE_CORNERS])
def test_many_boxes_tell_their_format_and_are_converted(name: str) -> None:
    true = boxes(60)
    written = [written_as(name, box) for box in true]
    found = judged(written, areas=[box[2] * box[3] if name in (XYWH, CORNERS) else None for box in true])
    if name == SHARE_CORNERS and found.name == UNCLEAR:
        pytest.fail(found.why)
    assert found.name == name, found
    for box, expected in zip(written, true, strict=True):
        assert found.to_xywh(box, SIZE_HW) == pytest.approx(expected, abs=1e-6)


def test_areas_tell_corners_where_no_size_is_known() -> None:
    true = boxes(8)
    corners = [written_as(CORNERS, box) for box in true]
    areas = [box[2] * box[3] for box in true]
    assert judged(corners, declared=None, areas=areas).name == CORNERS
    assert judged(true, declared=None, areas=areas).name == XYWH


def test_a_few_boxes_that_overshoot_are_still_pixels() -> None:
    found = boxes(40)
    for box in found[:10]:
        box[2] += 30
    assert judged(found).name == XYWH


def test_boxes_that_fit_no_format_are_unclear_and_refused() -> None:
    far = [[x + 70, y + 60, w, h] for x, y, w, h in boxes(40)]
    found = judged(far)
    assert found.name == UNCLEAR
    assert found.issue is not None and found.issue.code == "box-format-unclear"
    assert found.issue.kind.effect == "stops"


def test_shares_that_fit_two_formats_are_told_apart_by_areas_or_not_at_all() -> None:
    found = [[0.1, 0.2, 0.5, 0.5]] * 4
    assert judged(found).name == UNCLEAR
    assert judged(found, areas=[0.25] * 4).name == SHARES
    assert judged(found, areas=[0.4 * 0.3] * 4).name == SHARE_CORNERS


@pytest.mark.parametrize(
    "value",
    [None, "box", [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, True], [1, 2, 3, 10**400], [1, 2, 3, float("nan")]],
)
def test_what_is_no_box_is_none_and_stops_nothing(value: Any) -> None:
    assert not is_box(value)
    assert judged([value] * 3).name == XYWH
