"""Whether a data set fits the run; without torch, so that a report can ask, too."""

from __future__ import annotations

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError, quantity
from detr_hf.loading.balance import images_with_more_objects
from detr_hf.loading.tiles import Tiling, tile_table
from detr_hf.loading.truth import check_labels
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe


def refuse_unfit(recipe: Recipe, data: DataBundle) -> None:
    """Before the first step: masks where stage 2 needs them, and every label a class of the model."""
    if isinstance(recipe, PanopticRecipe) and not data.is_panoptic:
        raise UserError(
            "data: stage 2 learns masks, but this data set has boxes only (no `panoptic` PNG files). "
            "`detr-hf convert PATH OUT --to coco-panoptic` paints them from outlines."
        )
    if isinstance(recipe, DetectionRecipe) and recipe.model.num_queries is not None and data.stream is None:
        split, tiles, shown = data.dataset["train"], None, "training image"
        if recipe.data.tiles is not None:
            tiles = tile_table(split, Tiling(recipe.data.tiles, data.labels.stuff_ids))
            shown = "training window"
        crowded, most = images_with_more_objects(split, recipe.model.num_queries, tiles)
        if crowded:
            raise UserError(
                f"model.num_queries: {recipe.model.num_queries} finds no more objects in an image, and "
                f"{quantity(crowded, shown)} have more, up to {most}; give at least {most}."
            )
    for split in data.dataset.values():
        check_labels(split, data.labels.num_classes)
