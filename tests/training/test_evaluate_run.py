"""What cannot be scored is refused; that the scores are those of the run is tested in test_finish.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.prepare.build import build_bundle
from detr_hf.training.evaluate_run import evaluate_model
from tests.factories import write_coco_panoptic
from tests.tiny_runs import ALL_LABELS, THING_LABELS, panoptic_recipe, save_detector, save_segmenter


def test_evaluation_refuses_a_detector_for_a_panoptic_recipe_and_other_classes(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    detector = save_detector(tmp_path / "stage1", ALL_LABELS)
    recipe = panoptic_recipe(tmp_path / "run", split, detector, save_segmenter(tmp_path / "head"))
    data = build_bundle(recipe.data, tmp_path)
    with pytest.raises(UserError, match=r"stage1 holds a detector \(stage 1\), but the recipe is of stage 2"):
        evaluate_model(recipe, data, str(tmp_path / "stage1"), tmp_path)
    stranger = save_segmenter(tmp_path / "stranger", THING_LABELS)
    with pytest.raises(UserError, match=r"^\S*stranger was trained for other classes"):
        evaluate_model(recipe, data, str(stranger), tmp_path)
    shutil.rmtree(tmp_path / "head")
    with pytest.raises(UserError, match="there is no such folder"):
        evaluate_model(recipe, data, str(tmp_path / "head"), tmp_path)
