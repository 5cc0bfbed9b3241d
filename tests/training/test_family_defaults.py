"""From a recipe to the criterion, to the saved config, and from stage 1 to stage 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import (
    ConditionalDetrConfig,
    DabDetrConfig,
    DeformableDetrConfig,
    DetrConfig,
    DetrForSegmentation,
)

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.modeling.loss_record import read_losses
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.matcher import MatchingCosts
from detr_hf.recipe import Recipe
from detr_hf.train import run as run_recipe
from detr_hf.training.build import build_task
from detr_hf.training.family_defaults import loss_settings_of
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.family_models import save_family
from tests.tiny_models import tiny_config
from tests.tiny_runs import ALL_LABELS, detection_recipe, panoptic_recipe, save_detector

BOXES = ["class_loss_coefficient=2", "bbox_loss_coefficient=3.5", "eos_coefficient=0.3", "bbox_cost=4.5"]


def stage1(folder: Path, *overrides: str) -> Recipe:
    split = write_coco_panoptic(folder / "data", count=2)
    start = save_detector(folder / "start", ALL_LABELS)
    return detection_recipe(folder / "run", split, start, *overrides)


def stage2(folder: Path, detector: Path, *overrides: str) -> Recipe:
    split = write_coco_panoptic(folder / "data", count=2)
    return panoptic_recipe(folder / "run2", split, detector, "fresh", *overrides)


@pytest.mark.parametrize(
    ("config", "loss_weight", "cost"),
    [(DetrConfig, 1, 1), (ConditionalDetrConfig, 2, 2), (DabDetrConfig, 1, 2), (DeformableDetrConfig, 2, 2)],
)
def test_the_weight_of_classes_is_the_references(
    config: type, loss_weight: float, cost: float, tmp_path: Path
) -> None:
    """Guards: other numbers in a config, some of which stock reads and some not."""
    settings = loss_settings_of(stage1(tmp_path), None, config(class_cost=7))
    assert (settings.class_loss_coefficient, settings.costs.class_cost) == (loss_weight, cost)


def test_every_setting_of_stage_1_reaches_the_criterion(tmp_path: Path) -> None:
    recipe = stage1(tmp_path, *(f"loss.{one}" for one in BOXES), "loss.auxiliary=false")
    assert loss_settings_of(recipe, [1.0] * 5, tiny_config()) == LossSettings(
        class_loss_coefficient=2,
        bbox_loss_coefficient=3.5,
        eos_coefficient=0.3,
        class_weights=[1.0] * 5,
        auxiliary=False,
        costs=MatchingCosts(1, 4.5, 2),
    )


def test_every_setting_of_stage_2_reaches_the_criterion(tmp_path: Path) -> None:
    masks = ["mask_loss_coefficient=2", "dice_loss_coefficient=3", "focal_alpha=0.5", "focal_gamma=1"]
    together = ["model.freeze_detector=false", *(f"detection_loss.{one}" for one in BOXES)]
    recipe = stage2(tmp_path, tmp_path / "none", *(f"loss.{one}" for one in masks), *together)
    settings = loss_settings_of(recipe, None, tiny_config(bbox_cost=9))
    assert settings == LossSettings(
        class_loss_coefficient=2,
        bbox_loss_coefficient=3.5,
        eos_coefficient=0.3,
        mask_loss_coefficient=2,
        dice_loss_coefficient=3,
        focal_alpha=0.5,
        focal_gamma=1,
        costs=MatchingCosts(1, 4.5, 2),
    )


def test_a_frozen_stage_2_matches_with_the_costs_of_its_stage_1(tmp_path: Path) -> None:
    """Guards: default costs in stage 2, whatever stage 1 was trained with."""
    recipe = stage1(tmp_path, *(f"loss.{one}" for one in BOXES))
    task, _ = build_task(recipe, build_bundle(recipe.data, recipe.output_dir))
    assert read_losses(task.model.config) == task.criterion.settings
    task.model.save_pretrained(tmp_path / "stage1")
    ALL_LABELS.save(tmp_path / "stage1")
    second = stage2(tmp_path, tmp_path / "stage1", "loss.dice_loss_coefficient=2.5")
    masks, _ = build_task(second, build_bundle(second.data, second.output_dir))
    assert masks.criterion.settings.costs == MatchingCosts(1, 4.5, 2)
    assert masks.criterion.settings.dice_loss_coefficient == 2.5
    masks.model.save_pretrained(tmp_path / "stage2")
    saved = read_losses(DetrForSegmentation.from_pretrained(tmp_path / "stage2").config)
    assert (saved.bbox_loss_coefficient, saved.dice_loss_coefficient) == (3.5, 2.5)  # of both stages


# ---- what one family has and another has not

NO_OBJECT = r"loss.eos_coefficient: does nothing here: a {} has no \"no object\" class to weigh; remove it"
OFFSETS = r"optim.offsets_lr_share: does nothing here: a {} samples no points; remove it"
AUXILIARY = r"loss.auxiliary: every decoder layer of a {} has heads of its own, .* remove it"


@pytest.mark.parametrize(
    ("variant", "override", "refusal"),
    [
        ("conditional_detr", "loss.eos_coefficient=0.2", NO_OBJECT),
        ("dab_detr", "loss.eos_coefficient=0.2", NO_OBJECT),
        ("deformable_detr", "loss.eos_coefficient=0.2", NO_OBJECT),
        ("deformable_detr", "loss.auxiliary=false", AUXILIARY),
        ("detr", "optim.offsets_lr_share=0.5", OFFSETS),
        ("conditional_detr", "optim.offsets_lr_share=0.5", OFFSETS),
        ("dab_detr", "optim.offsets_lr_share=0.5", OFFSETS),
    ],
)
def test_a_setting_that_does_nothing_in_a_family_is_refused_by_name(
    variant: str, override: str, refusal: str, tmp_path: Path
) -> None:
    split = write_coco_detection(tmp_path / "data", count=2)
    start = tmp_path / "start"
    save_detector(start) if variant == "detr" else save_family(variant, start)
    name = "dab-detr" if variant == "dab_detr" else variant
    with pytest.raises(UserError, match=refusal.format(name)):
        run_recipe(detection_recipe(tmp_path / "run", split, start, override))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", "deformable_detr"])
def test_a_panoptic_recipe_of_a_family_without_masks_is_refused(variant: str, tmp_path: Path) -> None:
    detector = save_family(variant, tmp_path / "stage1", labels=ALL_LABELS)
    with pytest.raises(UserError, match=r"model.detector: .* no sound class .* stage 1 from a `detr` model"):
        run_recipe(stage2(tmp_path, detector))
