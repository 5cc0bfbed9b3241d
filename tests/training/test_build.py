"""What is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from detr_hf.errors import UserError
from detr_hf.prepare.build import build_bundle
from detr_hf.recipe import Split
from detr_hf.training.build import build_accelerator, build_run, build_task
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import THING_LABELS, assembled, detection_recipe, panoptic_recipe, save_detector


def test_a_label_outside_the_map_is_refused_by_image_and_class(tmp_path: Path) -> None:
    """Guards: a class id equal to the number of classes trains as "no object", without a word."""
    recipe = detection_recipe(
        tmp_path / "run", write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    )
    accelerator = build_accelerator(recipe)
    data = build_bundle(recipe.data, recipe.output_dir)
    task, _ = build_task(recipe, data)

    def one_too_high(row: dict) -> dict:
        if row["image_id"] == 12:
            row["objects"]["category"] = [3] * len(row["objects"]["category"])
        return row

    loose = data.dataset["train"].features.copy()
    loose["objects"] = {**loose["objects"], "category": datasets.List(datasets.Value("int64"))}
    data.dataset["train"] = data.dataset["train"].cast(loose).map(one_too_high)
    with pytest.raises(UserError, match=r"image 12 '002\.jpg' has an object of class 3.*classes 0 to 2"):
        build_run(recipe, accelerator, data, task)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_boxes_alone_are_refused_in_stage_two(tmp_path: Path) -> None:
    boxes = write_coco_detection(tmp_path / "boxes")
    build_bundle(detection_recipe(tmp_path, boxes, tmp_path).data, tmp_path).save(tmp_path / "saved")
    start1 = save_detector(tmp_path / "stage1", THING_LABELS)
    stand_in = Split(annotations="a", images="i", panoptic="p")
    changes = ["data.train=null", "data.validation=null", f"data.dataset={tmp_path / 'saved'}"]
    with pytest.raises(UserError, match="stage 2 learns masks"):
        assembled(panoptic_recipe(tmp_path / "run", stand_in, start1, "fresh", *changes))


def test_a_detector_of_other_classes_is_refused_in_stage_two(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    other = save_detector(tmp_path / "stage1", THING_LABELS)
    with pytest.raises(UserError, match=r"model\.detector: .*stage1 was trained for other classes"):
        assembled(panoptic_recipe(tmp_path / "run", split, other, "fresh"))
