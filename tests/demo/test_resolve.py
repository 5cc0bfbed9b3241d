"""`demo` in a recipe becomes files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.demo.resolve import CHECKPOINT, DEFORMABLE_CHECKPOINT, as_written, model_path, resolve_demo
from detr_hf.errors import UserError
from detr_hf.recipe import load_recipe, recipe_from_text

DETECTION = (
    "task: detection\noutput_dir: {out}\ndata: {{demo: {{train: 3, validation: 2, folder: {data}}}}}\n"
)
RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "demo"
MODEL = "model: {pretrained: demo}\noptim: {epochs: 1}\n"


def test_the_yard_is_drawn_and_named_as_files(tmp_path: Path) -> None:
    text = DETECTION.format(out=tmp_path / "run", data=tmp_path / "yard") + MODEL
    recipe = resolve_demo(recipe_from_text(text))
    assert recipe.data.demo is None
    assert recipe.data.train is not None
    assert recipe.data.validation is not None
    for split, count in ((recipe.data.train, 3), (recipe.data.validation, 2)):
        assert Path(split.annotations).is_file()
        assert len(list(Path(split.images).iterdir())) == count
        assert split.panoptic is not None
        assert len(list(Path(split.panoptic).iterdir())) == count
    assert recipe.model.pretrained == str(CHECKPOINT)


def test_an_existing_yard_is_used_again(tmp_path: Path) -> None:
    text = DETECTION.format(out=tmp_path / "run", data=tmp_path / "yard") + MODEL
    first = resolve_demo(recipe_from_text(text))
    assert first.data.train is not None
    before = Path(first.data.train.annotations).stat().st_mtime_ns
    resolve_demo(recipe_from_text(text))
    assert Path(first.data.train.annotations).stat().st_mtime_ns == before


def test_stage_two_takes_detector_and_mask_head_by_the_same_word() -> None:
    recipe = recipe_from_text(
        "task: panoptic\noutput_dir: runs/x\n"
        "data: {dataset: somewhere}\n"
        "model: {detector: demo, mask_head: demo}\noptim: {epochs: 1}\n"
    )
    resolved = resolve_demo(recipe)
    assert resolved.model.detector == resolved.model.mask_head == str(CHECKPOINT)
    assert resolved.data == recipe.data


def test_other_names_stay_as_they_are() -> None:
    assert model_path("facebook/detr-resnet-50") == "facebook/detr-resnet-50"
    assert model_path("demo") == str(CHECKPOINT)
    assert model_path("demo-deformable") == str(DEFORMABLE_CHECKPOINT)
    for name in ("demo", "demo-deformable"):
        assert as_written(f"detector: {model_path(name)}") == f"detector: {name}"


def test_both_tiny_models_learn_the_same_yard_in_the_same_steps(tmp_path: Path) -> None:
    yard = ["data.demo.train=2", "data.demo.validation=1", f"data.demo.folder={tmp_path / 'yard'}"]
    detr, deformable = (
        resolve_demo(load_recipe(RECIPES / name, yard)) for name in ("detection.yaml", "deformable_detr.yaml")
    )
    assert deformable.model.pretrained == str(DEFORMABLE_CHECKPOINT)
    assert deformable.loss.eos_coefficient is None and deformable.evaluation.score_threshold == 0.4
    for same in ("data", "transforms", "optim", "seed"):
        assert getattr(deformable, same) == getattr(detr, same)


def test_a_run_stands_for_its_best_model(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert model_path(str(tmp_path / "run")) == str(tmp_path / "run"), "no run: whoever loads it says so"
    (tmp_path / "run" / "recipe.yaml").write_text("task: detection\n")
    with pytest.raises(UserError, match="has no best/ yet"):
        model_path(str(tmp_path / "run"))
    (tmp_path / "run" / "best").mkdir()
    assert model_path(str(tmp_path / "run")) == str(tmp_path / "run" / "best")
    (tmp_path / "run" / "best" / "config.json").write_text("{}")
    assert model_path(str(tmp_path / "run" / "best")) == str(tmp_path / "run" / "best")
