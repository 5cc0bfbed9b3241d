"""Each kind of fault, made by hand among sound images, is the strongest suspicion and of the right kind."""

from __future__ import annotations

import pytest

from detr_hf.review.evidence import Evidence
from detr_hf.review.suspicions import (
    CLASS,
    DUPLICATE,
    KINDS,
    MISPLACED,
    MISSING,
    UNSUPPORTED,
    Suspicion,
    find_suspicions,
)
from tests.review.evidence_factories import evidence, sound

A, B = (10.0, 10.0, 30.0, 30.0), (60.0, 10.0, 30.0, 30.0)
MOVED = (25.0, 10.0, 30.0, 30.0)  # IoU 1/3 with A
FAULTY = {
    MISSING: evidence([(A, 0, 0.9), (B, 1, 0.9)], [(A, 0)], 99),
    UNSUPPORTED: evidence([(A, 0, 0.9)], [(A, 0), (B, 1)], 99),
    CLASS: evidence([(A, 0, 0.9), (B, 0, 0.9)], [(A, 0), (B, 1)], 99),
    MISPLACED: evidence([(MOVED, 0, 0.9), (B, 1, 0.9)], [(A, 0), (B, 1)], 99),
    DUPLICATE: evidence([(A, 0, 0.9), (B, 1, 0.9)], [(A, 0), (B, 1), ((61.0, 11.0, 30.0, 30.0), 1)], 99),
}


def among_sound(image: Evidence, images: int = 30) -> list[Suspicion]:
    return find_suspicions([*(sound(at, seed=at) for at in range(images)), image])


def test_every_kind_has_its_example() -> None:
    assert set(FAULTY) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fault_comes_first_with_its_kind(kind: str) -> None:
    found = among_sound(FAULTY[kind])
    assert (found[0].kind, found[0].image_id) == (kind, 99)
    assert found[0].score > 0.7 and all(one.score < 0.3 for one in found[1:]), found[:4]
    assert all(0 <= one.score <= 1 for one in found)


def test_what_is_named_is_the_annotation_and_the_detection_against_it() -> None:
    missing, unsupported, klass, misplaced, duplicate = (among_sound(FAULTY[kind])[0] for kind in KINDS)
    assert (missing.truth, missing.detection) == (None, 1)
    assert (unsupported.truth, unsupported.detection) == (1, None)
    assert (klass.truth, klass.detection, klass.iou) == (1, 1, pytest.approx(1.0))
    assert (misplaced.truth, misplaced.detection, misplaced.iou) == (0, 0, pytest.approx(1 / 3))
    assert (duplicate.truth, duplicate.other) == (2, 1), "the one that fits less may go"


def test_a_moved_annotation_is_one_suspicion_and_not_three() -> None:
    assert [one.kind for one in among_sound(FAULTY[MISPLACED]) if one.image_id == 99 and one.score > 0.1] == [
        MISPLACED
    ]


def test_what_a_crowd_covers_is_not_missing_and_a_crowd_is_never_suspected() -> None:
    image = evidence([((20.0, 20.0, 10.0, 10.0), 0, 0.9)], [((0.0, 0.0, 90.0, 90.0), 0)], 99, [True])
    assert [one for one in among_sound(image) if one.image_id == 99 and one.score > 0] == []


def test_an_object_that_two_queries_see_is_missing_once() -> None:
    image = evidence([(B, 1, 0.9), ((61.0, 10.0, 30.0, 30.0), 0, 0.8)], [], 99)
    assert [one.detection for one in among_sound(image) if one.kind == MISSING and one.score > 0.1] == [0]


def test_two_objects_that_the_model_tells_apart_are_no_duplicate() -> None:
    near = (68.0, 10.0, 30.0, 30.0)  # IoU 0.58 with B
    image = evidence([(B, 1, 0.9), (near, 1, 0.9)], [(B, 1), (near, 1)], 99)
    assert all(one.score < 0.1 for one in among_sound(image) if one.image_id == 99)


def test_a_box_nobody_can_place_better_is_less_suspected() -> None:
    """The same IoU says less of objects whose size is badly placed everywhere."""
    small, off = (10.0, 10.0, 6.0, 6.0), (12.0, 10.0, 6.0, 6.0)  # IoU 0.5
    hard = [evidence([(off, 0, 0.9)], [(small, 0)], at) for at in range(30)]
    usual = [one.score for one in find_suspicions(hard) if one.kind == MISPLACED]
    easy = [evidence([(small, 0, 0.9)], [(small, 0)], at) for at in range(30)]
    (second, *_) = [one for one in find_suspicions([*easy, hard[0]]) if one.kind == MISPLACED]
    assert usual == [] and second.score > 0.8


def test_classes_that_are_often_mixed_up_are_less_suspected() -> None:
    sure = [evidence([(A, 0, 0.9)], [(A, 0)], at) for at in range(100)]
    swapped = [evidence([(A, 1, 0.9)], [(A, 0)], 200 + at) for at in range(20)]
    scores = [
        max(one.score for one in find_suspicions([*sure, *some]) if one.kind == CLASS)
        for some in (swapped[:1], swapped)
    ]
    assert scores[0] == pytest.approx(0.9) and 0.3 < scores[1] < 0.6


def test_a_detection_that_spans_two_annotations_moves_neither() -> None:
    both = (10.0, 10.0, 60.0, 30.0)
    image = evidence([(both, 0, 0.9)], [(A, 0), ((40.0, 10.0, 30.0, 30.0), 0)], 99)
    assert all(one.kind != MISPLACED for one in among_sound(image) if one.image_id == 99)


def test_a_class_the_model_never_finds_is_not_unsupported() -> None:
    unseen = [evidence([(A, 0, 0.9)], [(A, 0), (B, 2)], at) for at in range(20)]
    assert all(one.score < 0.1 for one in find_suspicions(unseen))


@pytest.mark.parametrize("images", [[], [evidence([], [])], [evidence([], [(A, 0)])]])
def test_nothing_to_compare_is_no_fault(images: list[Evidence]) -> None:
    assert [one for one in find_suspicions(images) if one.score > 0] == []
