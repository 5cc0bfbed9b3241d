"""Objects and stuff on one id map: every number here is counted by hand on a picture of 10 x 8 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from detr_hf.data.paint import Painted, Stuff, paint
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from tests.data.record_factories import outlined

WIDTH, HEIGHT = 10, 8


def square(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def polygon(category: str, *outlines: list[float], iscrowd: bool = False) -> Annotation:
    return outlined(category, *outlines, number=7, iscrowd=iscrowd)


def record(*objects: Annotation) -> Sample:
    return Sample(None, "a/1.jpg", 1, list(objects), size_hw=(HEIGHT, WIDTH))


def sky_over_ground(horizon: int = 4) -> Stuff:
    id_map = np.ones((HEIGHT, WIDTH), np.int32)
    id_map[:horizon] = 2
    segments = [
        {"id": 1, "category": "ground", "score": 0.9},
        {"id": 2, "category": "sky", "score": 0.97},
    ]
    return Stuff(id_map, segments)


def areas(painted: Painted) -> dict[str, int]:
    counts = dict(zip(*np.unique(painted.id_map, return_counts=True), strict=True))
    assert counts.pop(0, 0) + sum(found.area for found in painted.objects) == WIDTH * HEIGHT
    for found in painted.objects:
        assert counts.pop(found.id) == found.area
    assert not counts, "no id without a segment"
    return {found.category: found.area for found in painted.objects}


def segments(painted: Painted) -> list[tuple[Any, ...]]:
    """(id, class, box, area) of what was painted, of machine-made stuff with "pseudo" and its score."""
    return [
        (one.id, one.category, one.bbox, one.area, *one.extra, *([one.score] if one.score else []))
        for one in painted.objects
    ]


def test_a_polygon_covers_the_pixels_that_it_encloses() -> None:
    painted = paint(record(polygon("brick", square(2, 1, 4, 3))), None)
    assert segments(painted) == [(1, "brick", [2, 1, 4, 3], 12)]
    assert (painted.id_map[1:4, 2:6] == 1).all()
    assert (painted.id_map > 0).sum() == 12
    assert painted.id_map.dtype == np.int32


def test_outlines_run_lengths_and_rectangles_of_one_shape_are_painted_alike() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[1:4, 2:6] = 1
    rle = coco_mask.encode(mask)
    rle["counts"] = rle["counts"].decode()
    shapes = [
        Annotation(1, "brick", [2, 1, 4, 3], rle),
        Annotation(1, "brick", [2, 1, 4, 3]),
        polygon("brick", square(2, 1, 4, 3)),
    ]
    maps = [paint(record(shape), None).id_map for shape in shapes]
    assert all((found == mask).all() for found in maps)


def test_an_odd_outline_is_rasterised_as_pycocotools_does_it() -> None:
    outline = [0.4, 0.3, 8.7, 2.2, 5.1, 7.6, 1.9, 5.5]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([outline], HEIGHT, WIDTH)))
    assert 20 < expected.sum() < 40
    assert (paint(record(polygon("brick", outline)), None).id_map == expected).all()


def test_all_parts_of_an_object_are_one_segment() -> None:
    painted = paint(record(polygon("brick", square(0, 0, 2, 2), square(8, 6, 2, 2))), None)
    assert segments(painted) == [(1, "brick", [0, 0, 10, 8], 8)]


@pytest.mark.parametrize("turned", [False, True])
def test_the_small_lies_over_the_large_in_whatever_order_they_come(turned: bool) -> None:
    large, small = polygon("wall", square(0, 0, 6, 6)), polygon("brick", square(4, 4, 4, 2))
    painted = paint(record(*((small, large) if turned else (large, small))), None)
    assert areas(painted) == {"wall": 36 - 4, "brick": 8}


def test_of_two_equal_areas_the_later_lies_over() -> None:
    painted = paint(record(polygon("a", square(0, 0, 3, 2)), polygon("b", square(2, 0, 3, 2))), None)
    assert areas(painted) == {"a": 4, "b": 6}


def test_crowds_lie_below_all_objects() -> None:
    crowd = polygon("people", square(0, 0, 2, 2), iscrowd=True)
    painted = paint(record(crowd, polygon("wall", square(1, 0, 6, 6))), None)
    assert areas(painted) == {"people": 2, "wall": 36}
    assert [found.iscrowd for found in painted.objects] == [True, False]


def test_objects_lie_over_pseudo_stuff_which_is_marked_with_its_score() -> None:
    painted = paint(record(polygon("brick", square(2, 2, 4, 4))), sky_over_ground())
    assert segments(painted) == [
        (1, "brick", [2, 2, 4, 4], 16),
        (2, "ground", [0, 4, 10, 4], 32, "pseudo", 0.9),
        (3, "sky", [0, 0, 10, 4], 32, "pseudo", 0.97),
    ]
    assert painted.issues == []


def test_stuff_wholly_under_objects_is_left_out_and_noted() -> None:
    painted = paint(record(polygon("wall", square(0, 0, 10, 4))), sky_over_ground())
    assert areas(painted) == {"wall": 40, "ground": 40}
    assert [(found.code, found.text) for found in painted.issues] == [("covered-stuff", "sky")]
    assert [found.id for found in painted.objects] == [1, 2], "ids have no gap"


def test_an_object_hidden_past_the_share_is_dropped_told_and_uncovers_nothing_else() -> None:
    """The wall shows 2 of its 40 pixels: 95 percent are hidden by two smaller objects."""
    wall = polygon("wall", square(0, 0, 10, 4))
    left, right = (
        polygon("left", square(0, 0, 5, 4)),
        polygon("right", square(5, 0, 5, 3), square(7, 3, 3, 1)),
    )
    painted = paint(record(wall, left, right), sky_over_ground(), most_hidden=0.9)
    assert areas(painted) == {"left": 20, "right": 18, "ground": 40, "sky": 2}
    assert [(found.code, found.file) for found in painted.issues] == [("hidden", "a/1.jpg")]
    assert painted.issues[0].text == "wall, annotation 7: 2 of 40 pixels seen"
    kept = paint(record(wall, left, right), sky_over_ground(), most_hidden=0.95)
    assert areas(kept) == {"wall": 2, "left": 20, "right": 18, "ground": 40}


def test_an_object_annotated_twice_stays_once() -> None:
    painted = paint(record(polygon("brick", square(1, 1, 3, 3)), polygon("brick", square(1, 1, 3, 3))), None)
    assert areas(painted) == {"brick": 9}
    assert [found.code for found in painted.issues] == ["hidden"]


def test_a_crowd_is_dropped_only_when_nothing_of_it_is_seen() -> None:
    crowd = polygon("people", square(0, 0, 10, 4), iscrowd=True)
    most = polygon("wall", square(0, 0, 10, 3), square(0, 3, 9, 1))
    assert areas(paint(record(crowd, most), None)) == {"people": 1, "wall": 39}
    whole = polygon("wall", square(0, 0, 10, 4))
    assert [f.code for f in paint(record(crowd, whole), None).issues] == ["hidden"]


def test_an_object_without_a_pixel_is_dropped_and_told() -> None:
    painted = paint(record(polygon("dust", [2.1, 2.1, 2.2, 2.1, 2.2, 2.2])), None)
    assert segments(painted) == []
    assert [found.code for found in painted.issues] == ["no-pixel"]
    assert not painted.id_map.any()


def test_a_picture_without_objects_has_its_stuff_alone() -> None:
    assert areas(paint(record(), sky_over_ground(3))) == {"ground": 50, "sky": 30}
    assert paint(record(), None).objects == []


def given(folder: Path, id_map: np.ndarray, *segments: Annotation) -> Sample:
    Image.fromarray(id_to_rgb(id_map)).save(folder / "map.png")
    return replace(record(*segments), id_map=folder / "map.png")


def test_a_given_id_map_is_taken_with_its_own_ids(tmp_path: Path) -> None:
    id_map = np.zeros((HEIGHT, WIDTH), np.int32)
    id_map[:4], id_map[4:, :5], id_map[7, 9] = 70_000, 300, 5
    drawn = [Annotation(70_000, "sky", extra={"pseudo": True}), Annotation(300, "crane")]
    painted = paint(given(tmp_path, id_map, *drawn))
    assert segments(painted) == [
        (70_000, "sky", [0, 0, 10, 4], 40, "pseudo"),
        (300, "crane", [0, 4, 5, 4], 20),
    ]
    assert painted.id_map[7, 9] == 0, "an id without a segment is void"
    assert (painted.id_map[:7] == id_map[:7]).all()


def test_a_given_id_map_of_another_size_is_refused(tmp_path: Path) -> None:
    small = given(tmp_path, np.ones((4, 5), np.int32), Annotation(1, "sky"))
    with pytest.raises(UserError, match=r"its PNG is of another size"):
        paint(small)
