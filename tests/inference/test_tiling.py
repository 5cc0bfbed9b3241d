"""Tiles of an image, and that what they find is counted once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.errors import UserError
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.inference.tiling import merge_tiles, tile_windows
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction, Segment
from tools.pretrain_tiny.street import STREET

LABELS = LabelMap.from_names(["cone", "crane"], stuff=["sky", "ground"])
CONE, CRANE, SKY, GROUND = range(4)
WIDE = (100, 180)
WINDOWS = [(0, 0, 100, 100), (80, 0, 180, 100)]


# ---- where the tiles lie


@pytest.mark.parametrize(
    ("size_hw", "tile", "overlap"),
    [((240, 320), 800, 0.2), ((1000, 3000), 800, 0.2), ((801, 800), 800, 0.5), ((700, 2000), 333, 0.0)],
)
def test_tiles_cover_the_image_and_overlap(size_hw: tuple[int, int], tile: int, overlap: float) -> None:
    windows = tile_windows(size_hw, tile, overlap)
    seen = np.zeros(size_hw, bool)
    for left, top, right, bottom in windows:
        assert (bottom - top, right - left) == (min(size_hw[0], tile), min(size_hw[1], tile))
        seen[top:bottom, left:right] = True
    assert seen.all() and len(set(windows)) == len(windows)
    for one, following in pairwise(sorted({(left, right) for left, _, right, _ in windows})):
        assert one[1] - following[0] >= int(overlap * tile)


def test_tiles_that_make_no_sense() -> None:
    predictor = Predictor.from_pretrained(CHECKPOINT, 0.5)
    for wrong in ({"tile": 0}, {"overlap": 0.95}, {"overlap": -0.1}):
        with pytest.raises(UserError, match="give a size"):
            TiledPredictor(predictor, **wrong)  # type: ignore[arg-type]


# ---- boxes of two tiles that share the columns from 80 to 100


def boxes(*found: tuple[int, float, list[float]]) -> Detections:
    return Detections(
        0,
        np.array([box for *_, box in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for label, *_ in found], np.int64),
    )


def merged(
    first: Detections, second: Detections, threshold: float = 0.5
) -> list[tuple[int, float, list[float]]]:
    found = merge_tiles([first, second], WINDOWS, WIDE, 7, LABELS, threshold)
    assert isinstance(found, Detections) and found.image_id == 7
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes_xyxy_px.tolist(), strict=True)
    return [(label, round(score, 2), box) for label, score, box in rows]


BOXES = {
    "whole in both": (
        boxes((CONE, 0.8, [84, 10, 96, 30])),
        boxes((CONE, 0.9, [4, 10, 17, 30])),
        [(CONE, 0.9, [84, 10, 97, 30])],
    ),
    "cut in one, and less sure where whole": (
        boxes((CONE, 0.9, [70, 10, 100, 30])),
        boxes(),
        [(CONE, 0.9, [70, 10, 100, 30])],
    ),
    "the whole one is taken": (
        boxes((CONE, 0.95, [85, 10, 100, 30])),
        boxes((CONE, 0.7, [5, 10, 40, 30])),
        [(CONE, 0.95, [85, 10, 120, 30])],
    ),
    "cut in both": (
        boxes((CRANE, 0.9, [50, 10, 100, 30])),
        boxes((CRANE, 0.8, [0, 11, 40, 30])),
        [(CRANE, 0.9, [50, 10, 120, 30])],
    ),
    "one above the other": (
        boxes((CONE, 0.9, [70, 10, 100, 30])),
        boxes((CONE, 0.8, [0, 50, 40, 70])),
        [(CONE, 0.9, [70, 10, 100, 30]), (CONE, 0.8, [80, 50, 120, 70])],
    ),
    "side by side, both whole": (
        boxes((CONE, 0.9, [70, 10, 88, 30])),
        boxes((CONE, 0.8, [9, 10, 40, 30])),
        [(CONE, 0.9, [70, 10, 88, 30]), (CONE, 0.8, [89, 10, 120, 30])],
    ),
    "two in one tile stay two": (
        boxes((CONE, 0.9, [10, 10, 30, 30]), (CONE, 0.8, [11, 11, 31, 30])),
        boxes(),
        [(CONE, 0.9, [10, 10, 30, 30]), (CONE, 0.8, [11, 11, 31, 30])],
    ),
    "one thing under two names": (
        boxes((CONE, 0.9, [84, 10, 96, 30])),
        boxes((CRANE, 0.8, [4, 10, 16, 30])),
        [(CONE, 0.9, [84, 10, 96, 30])],
    ),
    "two names for what looks not quite the same": (
        boxes((CONE, 0.9, [84, 10, 96, 30])),
        boxes((CRANE, 0.8, [4, 10, 16, 45])),
        [(CONE, 0.9, [84, 10, 96, 30]), (CRANE, 0.8, [84, 10, 96, 45])],
    ),
    "two things that both tiles see, one before the other": (
        boxes((CONE, 0.9, [84, 10, 96, 30]), (CRANE, 0.7, [84, 11, 96, 31])),
        boxes((CRANE, 0.8, [4, 11, 16, 31]), (CONE, 0.6, [4, 10, 16, 30])),
        [(CONE, 0.9, [84, 10, 96, 30]), (CRANE, 0.8, [84, 11, 96, 31])],
    ),
    "a thing on stuff": (
        boxes((CONE, 0.9, [84, 10, 96, 30])),
        boxes((SKY, 0.8, [4, 10, 16, 30])),
        [(CONE, 0.9, [84, 10, 96, 30]), (SKY, 0.8, [84, 10, 96, 30])],
    ),
    "a piece taken for something else": (
        boxes((CRANE, 0.9, [90, 10, 100, 30])),
        boxes((CONE, 0.8, [8, 5, 50, 40])),
        [(CONE, 0.8, [88, 5, 130, 40])],
    ),
    "stuff goes on": (
        boxes((SKY, 0.9, [0, 0, 100, 40])),
        boxes((SKY, 0.8, [0, 0, 100, 44])),
        [(SKY, 0.9, [0, 0, 180, 44])],
    ),
    "unsure": (boxes((CONE, 0.4, [10, 10, 30, 30])), boxes((CONE, 0.5, [30, 10, 60, 30])), []),
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name: str) -> None:
    first, second, expected = BOXES[name]
    assert [(label, pytest.approx(score), box) for label, score, box in expected] == merged(first, second)


RANKED = {
    "an unsure one that fits better does not take the place of a sure one": (
        boxes((CONE, 0.9, [84, 10, 97, 30])),
        boxes((CONE, 0.8, [4, 10, 16, 30]), (CONE, 0.1, [4, 10, 17, 30])),
        [(CONE, 0.9, [84, 10, 97, 30]), (CONE, 0.1, [84, 10, 97, 30])],
    ),
    "an unsure whole one does not frame a sure cut one": (
        boxes((CRANE, 0.9, [60, 10, 100, 30])),
        boxes((CRANE, 0.1, [3, 8, 18, 31])),
        [(CRANE, 0.9, [60, 10, 100, 30])],
    ),
    "a sure cut one is no piece of an unsure whole one": (
        boxes((CONE, 0.9, [90, 10, 100, 30])),
        boxes((CRANE, 0.1, [8, 5, 50, 60])),
        [(CONE, 0.9, [90, 10, 100, 30]), (CRANE, 0.1, [88, 5, 130, 60])],
    ),
}


@pytest.mark.parametrize("name", RANKED)
def test_what_hardly_scores_changes_nothing_that_is_sure(name: str) -> None:
    """Guards: for AP everything that is ranked is merged, and each sure box has unsure ones around it."""
    first, second, expected = RANKED[name]
    found = merged(first, second, threshold=0.0)
    assert [(label, pytest.approx(score), box) for label, score, box in expected] == found


def test_a_thing_across_three_tiles_is_one() -> None:
    windows = [(0, 0, 100, 100), (80, 0, 180, 100), (160, 0, 260, 100)]
    parts = [boxes((CRANE, 0.7, [60, 10, 100, 90])), boxes((CRANE, 0.9, [0, 10, 100, 90]))]
    parts.append(boxes((CRANE, 0.8, [0, 10, 30, 90])))
    found = merge_tiles(parts, windows, (100, 260), 0, LABELS, 0.5)
    assert isinstance(found, Detections) and found.boxes_xyxy_px.tolist() == [[60, 10, 190, 90]]


# ---- id maps of the same two tiles


def panoptic(*found: tuple[int, list[int]]) -> PanopticPrediction:
    """Rectangles over one another in a tile of 100 x 100."""
    id_map = np.zeros((100, 100), np.int32)
    for number, (_, (left, top, right, bottom)) in enumerate(found, start=1):
        id_map[top:bottom, left:right] = number
    segments = [Segment(number, label, 0.9) for number, (label, _) in enumerate(found, start=1)]
    return PanopticPrediction(0, id_map, segments, boxes())


def stitched(first: PanopticPrediction, second: PanopticPrediction) -> dict[int, list[list[int]]]:
    """Class -> left, top, right, bottom of each of its segments, which all are rectangles or bands."""
    found = merge_tiles([first, second], WINDOWS, WIDE, 7, LABELS, 0.5)
    assert isinstance(found, PanopticPrediction) and found.id_map.shape == WIDE
    assert set(np.unique(found.id_map)) - {0} == {segment.id for segment in found.segments}
    places: dict[int, list[list[int]]] = {}
    for segment, mask in zip(found.segments, found.masks(), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        places.setdefault(segment.category_id, []).append(box)
    return places


def test_stuff_of_a_class_is_one_segment_though_nothing_joins_it() -> None:
    sky, ground = (SKY, [0, 0, 100, 30]), (GROUND, [0, 70, 100, 100])
    assert stitched(panoptic(sky, ground), panoptic(sky, ground)) == {
        SKY: [[0, 0, 180, 30]],
        GROUND: [[0, 70, 180, 100]],
    }
    far = panoptic((SKY, [0, 0, 20, 20])), panoptic((SKY, [60, 60, 90, 90]))
    assert stitched(*far) == {SKY: [[0, 0, 170, 90]]}


def test_a_thing_in_both_tiles_is_one_segment() -> None:
    ground = (GROUND, [0, 0, 100, 100])
    whole = stitched(panoptic(ground, (CONE, [84, 10, 97, 30])), panoptic(ground, (CONE, [4, 10, 17, 30])))
    assert whole == {GROUND: [[0, 0, 180, 100]], CONE: [[84, 10, 97, 30]]}
    cut = stitched(panoptic((CRANE, [50, 10, 100, 30])), panoptic((CRANE, [0, 10, 40, 30])))
    assert cut == {CRANE: [[50, 10, 120, 30]]}


def test_a_thing_that_one_tile_holds_whole_is_taken_from_there() -> None:
    """Beyond the middle of the overlap, too, where the other tile saw but a piece, or something else."""
    first, second = panoptic((CONE, [88, 10, 100, 30])), panoptic((CONE, [4, 10, 40, 30]))
    assert stitched(first, second) == {CONE: [[84, 10, 120, 30]]}
    assert stitched(panoptic((CRANE, [92, 10, 100, 30])), second) == {CONE: [[84, 10, 120, 30]]}


def test_things_apart_stay_apart_and_nothing_stays_nothing() -> None:
    apart = stitched(panoptic((CONE, [70, 10, 85, 30])), panoptic((CONE, [8, 10, 30, 30])))
    assert apart == {CONE: [[70, 10, 85, 30], [88, 10, 110, 30]]}
    assert stitched(panoptic(), panoptic()) == {}


# ---- a model on wide images


def things(found: Prediction, labels: LabelMap) -> Counter[str]:
    assert isinstance(found, PanopticPrediction)
    classes = [segment.category_id for segment in found.segments]
    return Counter(labels.names[label] for label in classes if labels.is_thing(label))


@pytest.mark.parametrize(("seed", "scenes"), [(100, 3), (101, 2)])
def test_wide_images_count_what_their_scenes_count(seed: int, scenes: int) -> None:
    predictor = Predictor.from_pretrained(CHECKPOINT, 0.5)
    images = [draw_scene(seed, index, world=STREET).image for index in range(scenes)]
    alone = list(predictor.stream(images, batch_size=scenes))
    [tiled] = TiledPredictor(predictor, 320, 0.2).stream([np.concatenate(images, 1)], batch_size=4)
    expected = sum((things(one, predictor.labels) for one in alone), Counter())
    assert things(tiled, predictor.labels) == expected and expected.total() > 4
    assert isinstance(tiled, PanopticPrediction)
    boxes_too = Counter(predictor.labels.names[label] for label in tiled.detections.labels)
    assert {name: count for name, count in boxes_too.items() if name in expected} == expected
    stuff = [one.category_id for one in tiled.segments if not predictor.labels.is_thing(one.category_id)]
    assert len(stuff) == len(set(stuff))


def test_a_small_image_is_seen_whole() -> None:
    predictor = Predictor.from_pretrained(CHECKPOINT, 0.5)
    image = draw_scene(7, 0, world=STREET).image
    [whole], [tiled] = predictor.stream([image]), TiledPredictor(predictor).stream([image])
    assert isinstance(whole, PanopticPrediction) and isinstance(tiled, PanopticPrediction)
    np.testing.assert_array_equal(whole.id_map > 0, tiled.id_map > 0)
    assert len(whole.segments) == len(tiled.segments)
    sure = whole.detections.above(0.5)
    np.testing.assert_allclose(tiled.detections.boxes_xyxy_px, sure.boxes_xyxy_px)


def test_pieces_are_found_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: memory that grows with the square of what all tiles rank."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (2, 30, 2))
    tiles = [
        boxes(*((CONE, 0.9 - 0.01 * at, [*low, *(low + 30).clip(max=100)]) for at, low in enumerate(some)))
        for some in corners
    ]
    whole = merged(*tiles)
    monkeypatch.setattr("detr_hf.inference.tile_merging.BLOCK", 3)
    assert merged(*tiles) == whole and 0 < len(whole) < 60
