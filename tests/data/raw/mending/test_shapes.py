"""Objects of one picture: outlines, painted masks and rectangles, each fault told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from detr_hf.data.raw.mending.frames import Frame
from detr_hf.data.raw.mending.shapes import ObjectMender, reaches_beyond
from detr_hf.data.records import RawObject
from tests.raw_factories import SIZE_HW, SQUARE, compressed_square, painted_square

UPRIGHT = Frame(SIZE_HW, SIZE_HW)


def mended(
    frame: Frame = UPRIGHT, painted_as_crowd: bool = False, **annotation: Any
) -> tuple[list[RawObject], list[str]]:
    entry = {"id": 7, "category": "marble", "category_id": 26, "segmentation": [], "bbox": None, "iscrowd": 0}
    mender = ObjectMender("a.jpg", frame, painted_as_crowd)
    return mender.mended([entry | annotation]), [finding.kind for finding in mender.findings]


def test_a_sound_outline_is_kept_to_the_digit() -> None:
    (found,), kinds = mended(segmentation=[SQUARE])
    assert found == RawObject("marble", 7, polygons=[SQUARE]) and kinds == []


def test_an_outline_without_its_outer_list_is_understood() -> None:
    (found,), kinds = mended(segmentation=SQUARE)
    assert found.polygons == [SQUARE] and kinds == []


def test_good_parts_of_an_object_outlive_bad_ones() -> None:
    (found,), kinds = mended(segmentation=[[1.0, 1.0], SQUARE, [900.0, 1.0, 950.0, 1.0, 950.0, 9.0]])
    assert found.polygons == [SQUARE] and kinds == ["few_points", "outside"]


def test_an_outline_is_turned_with_its_picture() -> None:
    """By EXIF orientation 6: x becomes height - y, y becomes x."""
    (found,), _ = mended(Frame((48, 64), (64, 48), 6), segmentation=[[0.0, 0.0, 10.0, 0.0, 10.0, 4.0]])
    assert found.polygons == [[48.0, 0.0, 48.0, 10.0, 44.0, 10.0]]


def test_a_crossing_outline_becomes_what_it_encloses() -> None:
    bow_tie = [10.0, 10.0, 40.0, 40.0, 40.0, 10.0, 10.0, 40.0]
    (found,), kinds = mended(segmentation=[bow_tie])
    assert kinds == ["crossing"] and found.rle is not None and found.polygons is None
    filled = coco_mask.decode(found.rle)
    assert filled[25, 12] and filled[25, 37] and not filled[12, 25]


def test_a_painted_mask_is_an_object_unless_told_otherwise() -> None:
    (found,), kinds = mended(segmentation=painted_square(), iscrowd=1)
    assert not found.iscrowd and kinds == ["painted"]
    assert coco_mask.area(found.rle) == 400 and coco_mask.toBbox(found.rle).tolist() == [20, 10, 20, 20]
    (crowd,), kinds = mended(segmentation=painted_square(), iscrowd=1, painted_as_crowd=True)
    assert crowd.iscrowd and kinds == [] and crowd.rle == found.rle


def test_compressed_run_lengths_are_the_same() -> None:
    listed, _ = mended(segmentation=painted_square())
    compressed, kinds = mended(segmentation=compressed_square())
    assert compressed == listed and kinds == []


def test_our_reading_of_compressed_run_lengths_agrees_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = (rng.random(SIZE_HW) < rng.random()).astype(np.uint8)
        encoded = coco_mask.encode(np.asfortranarray(mask))
        shape = {"size": list(SIZE_HW), "counts": encoded["counts"].decode()}
        (found,), _ = mended(segmentation=shape)
        assert np.array_equal(coco_mask.decode(found.rle), mask)


@pytest.mark.parametrize(
    "shape",
    [
        {"size": [48, 65], "counts": [48 * 65]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": list(SIZE_HW), "counts": [5, 10]},
        {"size": list(SIZE_HW), "counts": [-1, 48 * 64 + 1]},
        {"size": list(SIZE_HW), "counts": [48 * 64.0]},
        {"size": list(SIZE_HW), "counts": "PPPPPPPPPPPPPPPPP"},
        {"size": list(SIZE_HW), "counts": "\x01"},
        {"counts": [1]},
    ],
)
def test_run_lengths_that_do_not_fit_are_dropped(shape: dict[str, Any]) -> None:
    """Guards: the decoder in C writes past its memory where counts and size disagree."""
    assert mended(segmentation=shape) == ([], ["bad_mask"])


def test_a_rectangle_alone() -> None:
    for empty in ([], [[]], None):
        (found,), kinds = mended(segmentation=empty, bbox=[60, 40, 10, 4])
        assert found == RawObject("marble", 7, bbox=[60.0, 40.0, 4.0, 4.0])
        assert kinds == ["clipped", "rectangle"]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (None, "no_shape"),
        ([1, 1, 0, 5], "no_area"),
        ([5, 5, -3, -3], "no_area"),
        ([99, 99, 5, 5], "outside"),
        ([1, 1, 5], "bad_numbers"),
        ([1, 1, 5, "5"], "bad_numbers"),
        ([1, 1, 5, float("inf")], "bad_numbers"),
    ],
)
def test_a_rectangle_that_cannot_be(box: Any, kind: str) -> None:
    assert mended(bbox=box) == ([], [kind])


@pytest.mark.parametrize(
    "part", [[1.0, 1.0, 5.0], [1.0, 1.0, 5.0, 1.0, 5.0, None], "text", [1e300, 1.0, 5.0, 1.0, 5.0, 5.0]]
)
def test_an_outline_of_something_else(part: Any) -> None:
    assert mended(segmentation=[part]) == ([], ["bad_numbers"])


def test_an_outline_keeps_its_crowd_flag() -> None:
    (found,), _ = mended(segmentation=[SQUARE], iscrowd=1)
    assert found.iscrowd


def test_an_unknown_category() -> None:
    assert mended(category=None, segmentation=[SQUARE]) == ([], ["unknown_category"])


def test_reaching_beyond_a_picture() -> None:
    assert not reaches_beyond([{"segmentation": [SQUARE]}], (30, 40), 0.0)
    assert reaches_beyond([{"segmentation": [SQUARE]}], (29, 40), 0.0)
    assert reaches_beyond([{"segmentation": [], "bbox": [0, 0, 41, 1]}], (30, 40), 0.0)
    assert not reaches_beyond([{"segmentation": [["x"]], "bbox": None}], (1, 1), 0.0)
