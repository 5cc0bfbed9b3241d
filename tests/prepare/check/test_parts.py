"""Run-length text, box pairs and upright turns, against slow or independent ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from detr_hf.data.run_lengths import runs_of_text
from detr_hf.geometry import boxes_xywh_to_xyxy, pairwise_iou, upright_array
from detr_hf.images import decode_image
from detr_hf.prepare.check.boxes import SAME_IOU, same_boxes
from detr_hf.prepare.check.outlines import outline_faults, polygon_fault
from detr_hf.prepare.check.upright import upright_box


def test_run_length_text_is_read_as_pycocotools_writes_it() -> None:
    rng = np.random.default_rng(0)
    for size_hw in ((7, 5), (120, 90), (400, 301)):
        mask = np.asfortranarray(rng.random(size_hw) < 0.3, dtype=np.uint8)
        mask[: size_hw[0] // 2] = 0
        text = coco_mask.encode(mask)["counts"].decode()
        runs = runs_of_text(text)
        assert runs is not None
        values = np.repeat(np.arange(len(runs)) % 2, runs)
        np.testing.assert_array_equal(values.reshape(size_hw[::-1]).T, mask)
        assert list(outline_faults({"size": list(size_hw), "counts": text}, size_hw)) == []


@pytest.mark.parametrize("text", ["d3b2~", "\x7f", "ooooooooooo", "é", "m"])
def test_damaged_run_length_text_is_no_mask(text: str) -> None:
    assert [fault.code for fault in outline_faults({"size": [4, 4], "counts": text}, (4, 4))] == [
        "rle-invalid"
    ]


def test_a_polygon_may_touch_the_edge() -> None:
    assert polygon_fault([0, 0, 40.5, 0, 40.5, 30], (30, 40)) == ""
    assert "out of the image" in polygon_fault([0, 0, 42, 0, 42, 30], (30, 40))
    assert [f.code for f in outline_faults("all of it", (30, 40))] == ["polygon-invalid"]


def test_pairs_of_boxes_are_those_of_the_slow_way() -> None:
    rng = np.random.default_rng(1)
    base = np.concatenate([rng.uniform(0, 300, (60, 2)), rng.uniform(5, 90, (60, 2))], 1)
    boxes = np.concatenate([base, base + rng.normal(0, 0.6, base.shape), base[:9]])
    slow = pairwise_iou(*[torch.from_numpy(boxes_xywh_to_xyxy(boxes))] * 2).numpy()
    expected = {(i, j) for i, j in np.argwhere(slow >= SAME_IOU).tolist() if i < j}
    assert len(expected) > 20
    assert set(same_boxes(boxes)) == expected
    assert list(same_boxes(np.zeros((0, 4)))) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_those_of_the_decoder(tmp_path: Path, orientation: int) -> None:
    """A white block in a black picture, turned by the decoder, and its box and map turned by us."""
    id_map = np.zeros((30, 50), np.int32)
    id_map[4:10, 7:30] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray((id_map * 255).astype(np.uint8)).convert("RGB").save(path, exif=exif)
    seen = (decode_image(path)[..., 0] > 0).astype(np.int32)
    np.testing.assert_array_equal(upright_array(id_map, orientation), seen)
    rows, columns = np.nonzero(seen)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert upright_box([7, 4, 23, 6], orientation, (30, 50)) == box
