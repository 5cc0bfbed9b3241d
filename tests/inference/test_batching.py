"""Batches of images of one size, and results in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from detr_hf.inference.predictor import Sample, batches_of, in_order
from detr_hf.modeling.predictions import Detections

TALL, WIDE = (8, 4), (4, 8)


def samples(sizes: list[tuple[int, int]], read: list[int] | None = None) -> Iterator[Sample]:
    for index, size_hw in enumerate(sizes):
        if read is not None:
            read.append(index)
        empty = {"class_labels": torch.zeros(0), "boxes_cxcywh_norm": torch.zeros(0, 4)}
        yield (
            torch.zeros(3, *size_hw),
            {"image_id": index, "size_hw": size_hw, "original_size_hw": size_hw, **empty},
        )


def ids(batches: Iterator[list[Sample]]) -> list[list[int]]:
    return [[sample[1]["image_id"] for sample in batch] for batch in batches]


def test_only_equal_sizes_share_a_batch() -> None:
    assert ids(batches_of(samples([TALL, WIDE, TALL, WIDE, WIDE]), 2)) == [[0, 2], [1, 3], [4]]
    assert ids(batches_of(samples([TALL, WIDE, TALL]), 1)) == [[0], [1], [2]]


def test_a_lonely_image_does_not_wait_for_ever() -> None:
    """Guards: results that pile up behind one image of an odd size."""
    read: list[int] = []
    batches = batches_of(samples([TALL] + 100 * [WIDE], read), 4)
    assert ids(batches)[:3] == [[1, 2, 3, 4], [0], [5, 6, 7, 8]]
    assert len(read) == 101
    read.clear()
    next(batches_of(samples(100 * [WIDE], read), 4))
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_results_come_in_order(order: list[int]) -> None:
    none = np.zeros(0)
    found = (Detections(number, none, none, none) for number in order)
    assert [one.image_id for one in in_order(found)] == [0, 1, 2]
