"""Greedy matching and what is counted from it, by hand and against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from detr_hf.metrics.box_scores import score_boxes
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.matching import (
    THRESHOLDS,
    above,
    best_threshold,
    confusion,
    match,
    sweep,
    threshold_of_boxes,
)
from tests.report.report_factories import image_boxes, random_entries

BRICK, CONE, SKY = 0, 1, 2


def test_the_surest_takes_the_box_and_another_class_finds_nothing() -> None:
    image = image_boxes([(0, BRICK, 0.3), (0, BRICK, 0.9), (1, CONE, 0.8)], [(0, BRICK), (1, BRICK)])
    found = match(image)
    assert found.scores.tolist() == [0.9, 0.8, 0.3]
    assert found.hit.tolist() == [True, False, False]
    assert found.truth.tolist() == [0, -1, -1] and found.iou[0] == pytest.approx(1.0)
    assert match(image, same_class=False).hit.tolist() == [True, True, False]


def test_a_crowd_is_found_any_number_of_times_and_is_neither_right_nor_wrong() -> None:
    image = image_boxes([(0, BRICK, 0.9), (0, BRICK, 0.8), (0, CONE, 0.7)], [(0, BRICK)], crowd=[True])
    for same_class in (True, False):
        found = match(image, same_class)
        assert found.ignored.tolist() == [True, True, False] and not found.hit.any()


@pytest.mark.parametrize("seed", range(4))
def test_matches_are_those_of_pycocotools(seed: int) -> None:
    entries = random_entries(seed)
    scored = score_boxes(entries, 3)
    images, per_class = len(entries), {}
    for label in range(3):
        rows = [one for one in scored.evalImgs[label * 4 * images : label * 4 * images + images] if one]
        pairs = [
            (score, bool(matched) and not ignored, bool(ignored))
            for one in rows
            for score, matched, ignored in zip(
                one["dtScores"], one["dtMatches"][0], one["dtIgnore"][0], strict=True
            )
        ]
        per_class[label] = sorted(pairs)
    matches = [match(entry.content) for entry in entries]
    for label in range(3):
        ours = [
            (float(one.scores[i]), bool(one.hit[i]), bool(one.ignored[i]))
            for one in matches
            for i in np.flatnonzero(one.labels == label)
        ]
        assert sorted(ours) == per_class[label]


def test_the_sweep_counts_by_hand() -> None:
    image = image_boxes(
        [(0, BRICK, 0.9), (1, BRICK, 0.5), (2, BRICK, 0.2)], [(0, BRICK), (2, BRICK), (3, BRICK)]
    )
    swept = sweep([match(image)], objects=3)
    at = {threshold: i for i, threshold in enumerate(swept["threshold"])}
    assert swept["precision"][at[0.0]] == pytest.approx(2 / 3) and swept["recall"][at[0.0]] == pytest.approx(
        2 / 3
    )
    assert swept["precision"][at[0.2]] == 0.5, "a box counts when its score is higher than the threshold"
    assert swept["precision"][at[0.5]] == 1.0 and swept["recall"][at[0.5]] == pytest.approx(1 / 3)
    assert swept["precision"][at[0.95]] is None and swept["f1"][at[0.95]] == 0
    assert swept["best"] == {
        "threshold": 0.0,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": pytest.approx(2 / 3),
    }


def test_the_sweep_is_a_matching_anew_at_every_threshold() -> None:
    entries = random_entries(7)
    swept = sweep([match(entry.content) for entry in entries], objects=20)
    for i in range(0, len(THRESHOLDS), 9):
        again = [match(above(entry.content, THRESHOLDS[i])) for entry in entries]
        right, false = sum(m.hit.sum() for m in again), sum((~m.hit & ~m.ignored).sum() for m in again)
        assert swept["recall"][i] == pytest.approx(right / 20)
        if right + false:
            assert swept["precision"][i] == pytest.approx(right / (right + false))


def test_a_sweep_of_nothing() -> None:
    assert sweep([], objects=0)["best"] is None
    nothing_found = sweep([match(image_boxes([], [(0, BRICK)]))], objects=1)
    assert nothing_found["best"] is None and nothing_found["recall"][0] == 0.0


def test_confusion_by_hand() -> None:
    found = [(0, CONE, 0.9), (1, CONE, 0.8), (3, BRICK, 0.7), (2, SKY, 0.9), (2, BRICK, 0.1)]
    image = image_boxes(found, [(0, BRICK), (1, CONE), (2, BRICK), (1, SKY)])
    table = confusion([ImageEntry(1, 0, image)], [BRICK, CONE], score_threshold=0.3)
    assert table.tolist() == [
        [0, 1, 1],  # one brick taken for a cone, one not found: the box on it is too unsure
        [0, 1, 0],
        [1, 0, 0],  # a brick on nothing; stuff takes no part
    ]


def test_confusion_leaves_crowds_alone() -> None:
    image = image_boxes([(0, BRICK, 0.9), (0, BRICK, 0.8)], [(0, BRICK)], crowd=[True])
    assert not confusion([ImageEntry(1, 0, image)], [BRICK, CONE], 0.5).any()


@pytest.mark.parametrize("seed", range(3))
def test_confusion_counts_every_object_and_every_box_once(seed: int) -> None:
    entries = random_entries(seed)
    table = confusion(entries, [0, 1, 2], 0.4)
    for label in range(3):
        objects = sum(
            int(((e.content.truth_labels == label) & ~e.content.truth_crowd).sum()) for e in entries
        )
        assert table[label].sum() == objects
    matches = [match(above(entry.content, 0.4), same_class=False) for entry in entries]
    assert table[:, :-1].sum() == sum(int((~one.ignored).sum()) for one in matches)


def test_one_threshold_for_all_classes_counts_them_alike_and_stands_in_the_middle_of_its_plateau() -> None:
    """Guards: the best F1 of all boxes together, at which a rare class with low scores is never drawn."""
    frequent, rare = [0.0] * 100, [0.0] * 100
    frequent[20:90] = [0.8] * 70
    rare[10:41] = [0.6] * 31
    frequent[50:70] = [0.9] * 20  # best for the frequent class, where the rare one has nothing
    assert best_threshold([frequent]) == 0.6 and best_threshold([frequent, rare]) == 0.3
    assert best_threshold([[None] * 100, [0.0] * 100]) is None and best_threshold([]) is None


def test_the_threshold_of_boxes_asks_of_classes_that_have_objects_only() -> None:
    image = image_boxes([(0, BRICK, 0.62), (1, CONE, 0.3), (2, SKY, 0.9)], [(0, BRICK), (1, CONE)])
    found = threshold_of_boxes([ImageEntry(1, 0, image)], np.array([1, 1, 0]))
    assert found == pytest.approx(0.15), "the middle of 0 to 0.29, where both are found"
    assert threshold_of_boxes([ImageEntry(1, 0, image)], np.array([0, 0, 0])) is None
