"""Repeat factors, class weights and crowded images, by hand."""

from __future__ import annotations

import datasets
import pytest

from detr_hf.loading.balance import (
    aspects_of,
    balanced_weights,
    images_with_more_objects,
    objects_when_mixed,
    repeat_factors,
)
from detr_hf.loading.mixing import Mixing
from detr_hf.recipe.data import Mix

# classes of the objects of four images; class 2 once, class 3 only as a crowd, class 4 nowhere
CLASSES = [[0, 0, 1], [0, 1], [0, 2], []]
SPLIT = datasets.Dataset.from_list(
    [
        {
            "height": 40 + 10 * row,
            "width": 80,
            "objects": {"category": [*classes, 3], "iscrowd": [False] * len(classes) + [True]},
        }
        for row, classes in enumerate(CLASSES)
    ]
)


def test_repeat_factors_by_hand() -> None:
    """Shares: class 0 in 3 of 4 images, class 1 in 2, class 2 in 1; an image takes its rarest class's."""
    factors = repeat_factors(SPLIT, 5, threshold=0.6)
    one, two = (0.6 / 0.5) ** 0.5, (0.6 / 0.25) ** 0.5
    assert factors.tolist() == pytest.approx([one, one, two, 1.0])


def test_a_low_threshold_repeats_nothing() -> None:
    assert repeat_factors(SPLIT, 5, threshold=0.001).tolist() == [1.0] * 4


def test_balanced_weights_by_hand() -> None:
    """Seven objects, three classes: 7 / (3 x 4), 7 / (3 x 2), 7 / (3 x 1); the mean over objects is 1."""
    weights = balanced_weights(SPLIT, 5)
    assert weights == pytest.approx([7 / 12, 7 / 6, 7 / 3, 1.0, 1.0])
    assert (4 * weights[0] + 2 * weights[1] + weights[2]) / 7 == pytest.approx(1.0)


def test_no_objects_at_all_is_no_division_by_zero() -> None:
    empty = SPLIT.select([3])
    assert balanced_weights(empty, 3) == [1.0] * 3
    assert repeat_factors(empty, 3, 0.5).tolist() == [1.0]


def test_aspects_are_height_by_width() -> None:
    assert aspects_of(SPLIT).tolist() == [0.5, 0.625, 0.75, 0.875]


def test_images_with_more_objects_than_queries_are_counted_without_their_crowds() -> None:
    """Guards: objects beyond the number of queries are silently never learned."""
    crowds = [[False] * 3, [], [False, True, True], [True], [False] * 5]
    rows = {"objects": [{"iscrowd": flags, "category": [0] * len(flags)} for flags in crowds]}
    split = datasets.concatenate_datasets([datasets.Dataset.from_dict(rows)] * 2)
    assert images_with_more_objects(split, queries=3) == (2, 5)
    assert images_with_more_objects(split, queries=2) == (4, 5)
    assert images_with_more_objects(split.select([1, 6]), queries=1) == (0, 0)


def test_objects_of_mixed_images_are_those_of_all_but_stuff_is_one_segment() -> None:
    """Each image: two things, one segment of stuff, a crowd."""
    rows = [{"objects": {"category": [0, 4, 0, 0], "iscrowd": [False] * 3 + [True]}, "panoptic": "x"}] * 5
    masks = datasets.Dataset.from_list(rows)
    boxes = masks.remove_columns("panoptic")

    def counted(split: datasets.Dataset, name: str) -> set[int]:
        return set(objects_when_mixed(split, Mixing(Mix(name=name), 1, [4])).tolist())

    assert counted(masks, "mosaic") == counted(masks, "ricap") == {4 * 2 + 1}
    assert counted(boxes, "mosaic") == {4 * 3}
    assert counted(masks, "copy_paste") == {3, 4, 5}
