"""COCO's run lengths as text, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from detr_hf.data.repair_objects import decoded_mask, encoded_mask, runs_of_text


def test_run_length_text_is_read_as_pycocotools_writes_it() -> None:
    rng = np.random.default_rng(0)
    for size_hw in ((7, 5), (120, 90), (400, 301)):
        mask = np.asfortranarray(rng.random(size_hw) < 0.3, dtype=np.uint8)
        mask[: size_hw[0] // 2] = 0
        text = coco_mask.encode(mask)["counts"].decode()
        decoded = decoded_mask({"size": list(size_hw), "counts": text}, size_hw)
        assert decoded is not None
        np.testing.assert_array_equal(decoded, mask.astype(bool))
        assert encoded_mask(decoded) == {"size": list(size_hw), "counts": text}


@pytest.mark.parametrize("text", ["d3b2~", "\x7f", "ooooooooooo", "é", "m"])
def test_damaged_run_length_text_is_no_mask(text: str) -> None:
    assert decoded_mask({"size": [4, 4], "counts": text}, (4, 4)) is None


def test_text_that_is_cut_off_has_no_runs() -> None:
    assert runs_of_text("o") is None
