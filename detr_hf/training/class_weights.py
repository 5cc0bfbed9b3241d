"""The weights of classes inside the class term: by name from the recipe, or from the training data."""

from __future__ import annotations

import difflib

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.balance import balanced_weights
from detr_hf.prepare.bundle import DataBundle
from detr_hf.recipe import DetectionLoss, DetectionRecipe, Recipe


def class_weights_of(recipe: Recipe, data: DataBundle) -> list[float] | None:
    """A weight for each class, or None where all have the same.

    Raises:
        UserError: the recipe weighs a class that the data does not have.
    """
    loss: DetectionLoss | None
    if isinstance(recipe, DetectionRecipe):
        loss, section = recipe.loss, "loss"
    else:
        loss, section = recipe.detection_loss, "detection_loss"
    if loss is None:
        return None
    if loss.balanced:
        return balanced_weights(data.dataset["train"], data.labels.num_classes)
    if loss.class_weights is None:
        return None
    return _by_name(loss.class_weights, data.labels, f"{section}.class_weights")


def _by_name(weights: dict[str, float], labels: LabelMap, key: str) -> list[float]:
    for name in weights:
        if name not in labels.names:
            close = difflib.get_close_matches(name, labels.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(labels.names)}"
            raise UserError(f"{key}: the data has no class {name!r}; {hint}")
    return [weights.get(name, 1.0) for name in labels.names]
