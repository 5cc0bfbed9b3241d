"""Whether a data set fits the run; without torch, so that a report can ask, too."""

from __future__ import annotations

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.loading.truth import check_labels
from detr_hf.recipe import PanopticRecipe, Recipe


def refuse_unfit(recipe: Recipe, data: DataBundle) -> None:
    """Before the first step: masks where stage 2 needs them, and every label a class of the model."""
    if isinstance(recipe, PanopticRecipe) and not data.is_panoptic:
        raise UserError(
            "data: stage 2 learns masks, but this data set has boxes only (no `panoptic` PNG files). "
            "`detr-hf convert PATH OUT --to coco-panoptic` paints them from outlines."
        )
    for split in data.dataset.values():
        check_labels(split, data.labels.num_classes)
