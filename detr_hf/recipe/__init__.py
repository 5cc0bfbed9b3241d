"""What a run is: typed, strict, read from one YAML file and `key=value` overrides.

`load_recipe` refuses a recipe with all its faults at once, each by its dotted path, before anything heavy is
imported: this package needs pydantic and PyYAML only. A setting that would do nothing in the run is a fault.
"""

from __future__ import annotations

from detr_hf.recipe.data import (
    Data,
    Split,
    detr_training_transforms,
    detr_validation_transforms,
)
from detr_hf.recipe.fields import seconds_of
from detr_hf.recipe.load import load_recipe, recipe_from_text, recipe_to_dict, recipe_to_yaml
from detr_hf.recipe.schema import (
    BoxLoss,
    Compute,
    DetectionLoss,
    DetectionRecipe,
    EarlyStopping,
    Ema,
    Hub,
    Optim,
    PanopticModel,
    PanopticRecipe,
    Recipe,
    Schedule,
)

__all__ = [
    "BoxLoss",
    "Compute",
    "Data",
    "DetectionLoss",
    "DetectionRecipe",
    "EarlyStopping",
    "Ema",
    "Hub",
    "Optim",
    "PanopticModel",
    "PanopticRecipe",
    "Recipe",
    "Schedule",
    "Split",
    "detr_training_transforms",
    "detr_validation_transforms",
    "load_recipe",
    "recipe_from_text",
    "recipe_to_dict",
    "recipe_to_yaml",
    "seconds_of",
]
