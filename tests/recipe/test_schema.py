"""The settings of a recipe and their defaults."""

from __future__ import annotations

import dataclasses

import pytest

from detr_hf.recipe import (
    BoxLoss,
    DetectionRecipe,
    PanopticRecipe,
    Recipe,
    detr_training_transforms,
    recipe_from_text,
    recipe_to_yaml,
)
from tests.recipe.texts import DETECTION, PANOPTIC


def test_the_defaults_are_detrs_or_left_to_the_family() -> None:
    recipe = recipe_from_text(DETECTION)
    assert isinstance(recipe, DetectionRecipe)
    assert recipe.model.pretrained == "facebook/detr-resnet-50"
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.clip_norm) == (None, 1e-4, 0.1)
    weights = [getattr(recipe.loss, f"{name}_loss_coefficient") for name in ("class", "bbox", "giou")]
    assert [*weights, recipe.loss.eos_coefficient] == [None] * 4
    assert (recipe.optim.batch_size, recipe.optim.schedule.name, recipe.checkpoint.best) == (16, "step", "AP")
    assert recipe.transforms.train == detr_training_transforms()
    assert recipe.seed == 42 and recipe.resume == "auto" and recipe.mixed_precision == "no"


def test_panoptic_defaults() -> None:
    recipe = recipe_from_text(PANOPTIC)
    assert isinstance(recipe, PanopticRecipe)
    assert recipe.model.freeze_detector and recipe.detection_loss is None
    assert recipe.checkpoint.best == "PQ"
    assert recipe.evaluation.mask_threshold == 0.0


def test_training_detector_and_masks_together_fills_in_the_detection_loss() -> None:
    recipe = recipe_from_text(PANOPTIC, ["model.freeze_detector=false"])
    assert isinstance(recipe, PanopticRecipe)
    assert recipe.detection_loss == BoxLoss()


def test_default_transforms_are_not_shared_between_recipes() -> None:
    first, second = recipe_from_text(DETECTION), recipe_from_text(DETECTION)
    first.transforms.train[0]["p"] = 0.0
    assert second.transforms.train[0]["p"] == 0.5


def test_a_whole_number_serves_as_a_number() -> None:
    recipe = recipe_from_text(DETECTION, ["optim.clip_norm=1"])
    assert recipe.optim.clip_norm == 1.0 and isinstance(recipe.optim.clip_norm, float)


def test_costs_and_weights_may_be_fractions() -> None:
    """Guards: a stock config takes whole numbers only for them."""
    costs = ["class_cost", "bbox_cost", "giou_cost", "eos_coefficient"]
    detection = [*costs, *(f"{name}_loss_coefficient" for name in ("class", "bbox", "giou"))]
    masks = ["mask_loss_coefficient", "dice_loss_coefficient"]
    for text, names in ((DETECTION, detection), (PANOPTIC, masks)):
        recipe = recipe_from_text(text, [f"loss.{name}=2.5" for name in names])
        assert {getattr(recipe.loss, name) for name in names} == {2.5}


def test_from_scratch_the_whole_backbone_learns() -> None:
    assert recipe_from_text(DETECTION).model.freeze_backbone == "stem_and_first_stage"
    for overrides in (["model.scratch=true"], ["model.scratch=true", "model.freeze_backbone=none"]):
        recipe = recipe_from_text(DETECTION, overrides)
        assert recipe.model.freeze_backbone == "none"
        assert recipe_from_text(recipe_to_yaml(recipe)) == recipe


def test_a_recipe_is_frozen_and_changed_by_replacement() -> None:
    recipe: Recipe = recipe_from_text(DETECTION)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 3  # type: ignore[misc]
    assert dataclasses.replace(recipe, seed=3).seed == 3
