"""Run-length masks of foreign files: read as the reference reads them, and nothing that does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from detr_hf.data.repair_objects import decoded_mask, encoded_mask
from tests.raw_factories import SIZE_HW, compressed_square, painted_square


def test_listed_and_compressed_run_lengths_are_the_same_mask() -> None:
    listed, compressed = (decoded_mask(shape, SIZE_HW) for shape in (painted_square(), compressed_square()))
    assert listed is not None and compressed is not None
    assert np.array_equal(listed, compressed) and listed.sum() == 400 and listed[10:30, 20:40].all()


def test_our_reading_of_compressed_run_lengths_agrees_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random(SIZE_HW) < rng.random()
        made = encoded_mask(mask)
        assert np.array_equal(decoded_mask(made, SIZE_HW), mask)
        assert np.array_equal(coco_mask.decode(made), mask)


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
def test_run_lengths_that_do_not_fit_are_none(shape: dict[str, Any]) -> None:
    """Guards: the decoder in C writes past its memory where counts and size disagree."""
    assert decoded_mask(shape, SIZE_HW) is None
