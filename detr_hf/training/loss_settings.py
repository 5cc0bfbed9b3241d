"""From a recipe to the settings of the criterion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from detr_hf.modeling.criterion import LossSettings
from detr_hf.modeling.loss_record import read_losses
from detr_hf.modeling.matcher import MatchingCosts
from detr_hf.recipe import DetectionLoss, DetectionRecipe, Recipe

BOX_SETTINGS = (
    *("class_loss_coefficient", "bbox_loss_coefficient", "giou_loss_coefficient", "eos_coefficient"),
    "auxiliary",
)
MASK_SETTINGS = ("mask_loss_coefficient", "dice_loss_coefficient", "focal_alpha", "focal_gamma")


def loss_settings_of(recipe: Recipe, class_weights: list[float] | None, config: Any) -> LossSettings:
    """What a recipe says about losses and matching.

    Where it trains no detector, the rest is as the model of ``config`` was trained: a frozen detector of
    stage 2 is matched with the costs of its stage 1.
    """
    if isinstance(recipe, DetectionRecipe):
        return _of_boxes(recipe.loss, class_weights)
    masks = {name: getattr(recipe.loss, name) for name in MASK_SETTINGS}
    if recipe.model.freeze_detector:
        return replace(read_losses(config), **masks)
    return replace(_of_boxes(recipe.detection_loss or DetectionLoss(), class_weights), **masks)


def _of_boxes(loss: DetectionLoss, class_weights: list[float] | None) -> LossSettings:
    settings = {name: getattr(loss, name) for name in BOX_SETTINGS}
    costs = MatchingCosts(loss.class_cost, loss.bbox_cost, loss.giou_cost)
    return LossSettings(**settings, class_weights=class_weights, costs=costs)
