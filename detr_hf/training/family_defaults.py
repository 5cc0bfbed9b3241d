"""What a recipe leaves to the family of its model: coefficients, matching costs, rates, score threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from detr_hf.errors import UserError
from detr_hf.modeling.families.base import Family
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.loss_record import read_losses
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.matcher import MatchingCosts
from detr_hf.recipe import BoxLoss, DetectionRecipe, Optim, Recipe

Loss = TypeVar("Loss", bound=BoxLoss)

COSTS = tuple(cost.name for cost in fields(MatchingCosts))
BOX_SETTINGS = (
    *("class_loss_coefficient", "bbox_loss_coefficient", "giou_loss_coefficient", "eos_coefficient"),
    "auxiliary",
)
MASK_SETTINGS = ("mask_loss_coefficient", "dice_loss_coefficient", "focal_alpha", "focal_gamma")


def settled(recipe: Recipe, config: Any) -> Recipe:
    """The recipe with numbers where it leaves them to the family of the model of ``config``.

    Raises:
        UserError: it sets what has no meaning for this family.
    """
    family = family_of(config)
    rates = asdict(rates_of(recipe.optim, family))
    evaluation: Any = replace(recipe.evaluation, score_threshold=score_threshold_of(recipe, family))
    recipe = replace(recipe, optim=replace(recipe.optim, **rates), evaluation=evaluation)
    if isinstance(recipe, DetectionRecipe):
        return replace(recipe, loss=settled_loss(recipe.loss, family, "loss"))
    if recipe.model.freeze_detector:
        return recipe
    return replace(recipe, detection_loss=settled_loss(_box_loss(recipe), family, "detection_loss"))


def settled_loss(loss: Loss, family: Family, section: str) -> Loss:
    """``section`` of a recipe with the family's numbers where none are given.

    Raises:
        UserError: a setting has no meaning for this family.
    """
    given = family.defaults.losses
    known = {name: getattr(given, name) for name in BOX_SETTINGS} | {
        name: getattr(given.costs, name) for name in COSTS
    }
    if not family.scores.has_no_object:
        if loss.eos_coefficient is not None:
            raise UserError(
                f'{section}.eos_coefficient: does nothing here: a {family.model_type} has no "no object" '
                "class to weigh; remove it."
            )
        del known["eos_coefficient"]
    if family.has_heads_of_layers and not loss.auxiliary:
        raise UserError(
            f"{section}.auxiliary: every decoder layer of a {family.model_type} has heads of its own, which "
            "would not learn without the auxiliary losses; remove it."
        )
    return replace(loss, **{name: value for name, value in known.items() if getattr(loss, name) is None})


def score_threshold_of(recipe: Recipe, family: Family) -> float:
    """Above which a box is drawn and a query paints: that of the recipe, else the family's usual one."""
    given = recipe.evaluation.score_threshold
    return family.scores.usual_threshold if given is None else given


@dataclass(frozen=True)
class Rates:
    """Of AdamW: for most parameters, the backbone, and as a share of the first for group "offsets"."""

    lr: float
    backbone_lr: float
    offsets_lr_share: float | None


def rates_of(optim: Optim, family: Family) -> Rates:
    """Those of the recipe, and the family's where none are given.

    Raises:
        UserError: a rate has no parameters in this family.
    """
    given = family.defaults
    if optim.offsets_lr_share is not None and given.offsets_lr_share is None:
        raise UserError(
            f"optim.offsets_lr_share: does nothing here: a {family.model_type} samples no points; remove it."
        )
    share = optim.offsets_lr_share or given.offsets_lr_share
    return Rates(optim.lr or given.lr, optim.backbone_lr or given.backbone_lr, share)


def loss_settings_of(recipe: Recipe, class_weights: list[float] | None, config: Any) -> LossSettings:
    """What a recipe says about losses and matching.

    Where it trains no detector, the rest is as the model of ``config`` was trained: a frozen detector of
    stage 2 is matched with the costs of its stage 1.
    """
    family = family_of(config)
    if isinstance(recipe, DetectionRecipe):
        return _of_boxes(settled_loss(recipe.loss, family, "loss"), class_weights)
    masks = {name: getattr(recipe.loss, name) for name in MASK_SETTINGS}
    if recipe.model.freeze_detector:
        return replace(read_losses(config), **masks)
    loss = settled_loss(_box_loss(recipe), family, "detection_loss")
    return replace(_of_boxes(loss, class_weights), **masks)


def _box_loss(recipe: Any) -> BoxLoss:
    return recipe.detection_loss or BoxLoss()


def _of_boxes(loss: BoxLoss, class_weights: list[float] | None) -> LossSettings:
    given = {name: getattr(loss, name) for name in BOX_SETTINGS}
    settings = {name: value for name, value in given.items() if value is not None}
    costs = MatchingCosts(**{name: getattr(loss, name) for name in COSTS})
    return LossSettings(**settings, class_weights=class_weights, costs=costs)
