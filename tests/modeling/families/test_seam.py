"""The seam: every family goes through the whole package, and is found by its config alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import BertConfig

from detr_hf import train
from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.inference import Predictor
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.families.registry import FAMILIES, family_of
from detr_hf.modeling.pretrained import load_finished, load_stage2
from detr_hf.training.finish import evaluate_model
from tests.factories import write_coco_detection
from tests.family_models import VARIANTS, save_family
from tests.tiny_models import LABELS, tiny_config
from tests.tiny_runs import THING_LABELS, detection_recipe, lines_of


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_family_trains_evaluates_predicts_and_is_saved_as_its_own_class(
    variant: str, tmp_path: Path
) -> None:
    split = write_coco_detection(tmp_path / "data", count=4)
    pretrained = save_family(variant, tmp_path / "pretrained")
    recipe = detection_recipe(tmp_path / "run", split, pretrained, "optim.class_head_lr=0.01")
    train.run(recipe)
    lines = lines_of(tmp_path / "run")
    trained = [line for line in lines if line["kind"] == "train"]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert {"loss_ce", "loss_bbox", "loss_giou", "loss_auxiliary"} <= set(trained[0])
    assert ("loss_proposals" in trained[0]) == variant.endswith("two_stage")
    assert {"backbone", "class_head", "other"} <= set(trained[0]["lr"])
    assert ("offsets" in trained[0]["lr"]) == variant.startswith("deformable")
    best = tmp_path / "run" / "best"
    detector_class, config_class, _ = VARIANTS[variant]
    assert type(load_finished(str(best))) is detector_class
    assert json.loads((best / "config.json").read_text())["model_type"] == config_class.model_type
    [found] = Predictor.from_pretrained(best, device="cpu").predict([next(Path(split.images).iterdir())])
    assert found.detections is found and found.labels.max() < THING_LABELS.num_classes
    again = evaluate_model(
        recipe, build_bundle(recipe.data, recipe.output_dir), str(best), tmp_path / "again"
    )
    assert again["detection"].keys() == lines[-1]["detection"].keys()


@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", "deformable_detr"])
def test_a_family_without_a_mask_head_is_refused_in_stage_2_by_its_name(variant: str, tmp_path: Path) -> None:
    source = save_family(variant, tmp_path / "detector")
    name = VARIANTS[variant][1].model_type
    with pytest.raises(UserError, match=rf"is a '{name}' model, .* train stage 1 from a `detr` model"):
        load_stage2(str(source), "fresh", LABELS)


def test_a_family_is_found_by_the_model_type() -> None:
    assert family_of(tiny_config()) is DETR
    assert set(FAMILIES) == {"detr", *(config.model_type for _, config, _ in VARIANTS.values())}
    with pytest.raises(UserError, match=r"some/model: is a 'bert' model; this package fine-tunes .*`detr`"):
        family_of(BertConfig(), "some/model")
