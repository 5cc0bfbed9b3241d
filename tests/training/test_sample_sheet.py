"""The sheet of training samples: written, one cell a sample, in the colors of the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.build import build_bundle
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.rows import TableRows
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import Data
from detr_hf.training.start_report import draw_sample, save_training_grid
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("masks", [False, True])
def test_a_sheet_is_written_with_one_cell_a_sample(tmp_path: Path, masks: bool) -> None:
    write = write_coco_panoptic if masks else write_coco_detection
    bundle = build_bundle(
        Data(train=write(tmp_path / "a", count=6, sizes_hw=[(96, 128)]), overfit=6), tmp_path / "run"
    )
    transforms = build_transforms([{"name": "HorizontalFlip"}], "transforms.train")
    images = DetectionDataset(TableRows(bundle.dataset["train"]), transforms, 0, with_masks=masks)
    sizes = {}
    for count in (3, 6):
        path = save_training_grid(images, bundle.labels, tmp_path / "new" / f"{count}.jpg", count=count)
        with Image.open(path) as sheet:
            sizes[count] = sheet.size
    assert sizes[6][1] > 1.5 * sizes[3][1]  # 4 in a row: six samples need a second one


def test_boxes_are_drawn_where_the_objects_are(tmp_path: Path) -> None:
    image = np.full((100, 200, 3), 128, np.uint8)
    bundle = build_bundle(Data(train=write_coco_detection(tmp_path / "a"), overfit=2), tmp_path / "run")
    images = DetectionDataset(TableRows(bundle.dataset["train"]), build_transforms([], "transforms.train"), 0)
    target = images[(0, 0)][1]
    plain = np.asarray(draw_sample(image, target, bundle.labels))
    assert (plain == 128).all()  # image 0 has no objects
    target = images[(0, 1)][1]
    drawn = np.asarray(draw_sample(image, target, bundle.labels))
    factor = drawn.shape[0] / 100
    changed = np.argwhere((drawn != 128).any(2)) / factor
    cx, cy, w, h = target["boxes_cxcywh_norm"].numpy().T
    assert changed[:, 0].max() >= ((cy + h / 2) * 100).max() - 3
    assert changed[:, 1].min() <= ((cx - w / 2) * 200).min() + 3
