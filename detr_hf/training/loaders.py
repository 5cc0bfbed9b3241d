"""What a recipe makes of the data: loaders for both splits, and the weights of the classes."""

from __future__ import annotations

import difflib
import math

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.loading.balance import aspects_of, balanced_weights, repeat_factors
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import BatchLoader, TrainingLoader, evaluation_loader
from detr_hf.loading.mixing import Mixing
from detr_hf.loading.rows import FOLLOWERS, Rows, StreamRows, TableRows
from detr_hf.loading.samplers import BatchPlan, StepSampler, TrainingSampler, repeated_length
from detr_hf.loading.stream import StreamSampler
from detr_hf.loading.tiles import Tiling, tile_table
from detr_hf.loading.transforms import build_transforms
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe


def build_train_loader(
    recipe: Recipe, data: DataBundle, processor: ImageProcessor, accelerator: Accelerator
) -> TrainingLoader:
    """Micro-batches of the training split, in the order and the shapes that the recipe asks for."""
    dataset, optim, settings = build_dataset(recipe, data, "train", processor), recipe.optim, recipe.data
    here = (accelerator.process_index, accelerator.num_processes)
    micro = min(optim.micro_batch_size, optim.batch_size)
    plan = BatchPlan(optim.batch_size, micro, recipe.seed, *here)
    skip_bad = settings.on_bad_sample == "skip"
    sampler: TrainingSampler
    if data.stream is not None:
        buffer = settings.shuffle_buffer
        followers = FOLLOWERS if skip_bad or dataset.mixing is not None else 0
        sampler = StreamSampler(data.stream.rows, len(dataset), plan, buffer, followers)
    else:
        aspects = None
        if settings.batching == "aspect":
            tiles = dataset.rows.tiles
            aspects = aspects_of(data.dataset["train"]) if tiles is None else tiles.aspects
        sampler = StepSampler(len(dataset), plan, shown_factors(recipe, data, dataset.rows), aspects)
    return TrainingLoader(dataset, sampler, settings.workers, skip_bad)


def shown_factors(recipe: Recipe, data: DataBundle, rows: Rows) -> NDArray[np.float64] | None:
    """How often an epoch shows each row of the training split; None: once, or it is a stream."""
    if isinstance(rows, StreamRows):
        return None
    if (threshold := recipe.data.repeat_threshold) is not None:
        return repeat_factors(data.dataset["train"], data.labels.num_classes, threshold, rows.tiles)
    return rows.tiles.shown if rows.tiles is not None and rows.tiles.keep_empty < 1 else None


def tiling_of(recipe: Recipe, data: DataBundle) -> Tiling | None:
    """How the images of a recipe are cut; None where they are seen whole."""
    tiles = recipe.data.tiles
    return None if tiles is None else Tiling(tiles, data.labels.stuff_ids, recipe.seed)


def _training_rows(recipe: Recipe, data: DataBundle) -> Rows:
    tiling, stream = tiling_of(recipe, data), data.stream
    if stream is not None:
        return StreamRows(stream.rows, stream.check, stream.images, stream.is_panoptic, tiling)
    split = data.dataset["train"]
    if tiling is None:
        return TableRows(split)
    tiles = tile_table(split, tiling)
    if tiling.tiles.keep_empty == 0:
        tiles = tiles.without_empty()
    if not len(tiles):
        raise UserError(
            "data.tiles.keep_empty: 0 leaves no window, because no window has a thing; lower  "
            "data.tiles.min_share, or give a larger data.tiles.size or overlap"
        )
    return TableRows(split, tiling, tiles)


def build_validation_loader(
    recipe: Recipe, data: DataBundle, processor: ImageProcessor, accelerator: Accelerator
) -> BatchLoader:
    """Every validation image, or window of one, once over all processes, in batches without padding."""
    dataset = build_dataset(recipe, data, "validation", processor)
    here = (accelerator.process_index, accelerator.num_processes)
    return evaluation_loader(dataset, recipe.evaluation.batch_size, recipe.data.workers, *here)


def build_dataset(
    recipe: Recipe, data: DataBundle, split: str, processor: ImageProcessor
) -> DetectionDataset:
    """Images of "train" or "validation" with the recipe's transforms and the processor's colors.

    In tiles, the windows of all validation images, and of the training images those that the recipe keeps.

    Raises:
        UserError: the transforms cannot be built, `mix` needs masks, or no window has a thing.
    """
    if split == "train":
        rows = _training_rows(recipe, data)
    else:
        rows = TableRows(data.dataset[split], tiling_of(recipe, data))
    entries = recipe.transforms.train if split == "train" else recipe.transforms.validation
    return DetectionDataset(
        rows,
        build_transforms(entries, f"transforms.{split}"),
        recipe.seed,
        with_masks=isinstance(recipe, PanopticRecipe) and split == "train",
        mean=processor.image_mean,
        std=processor.image_std,
        mixing=_mixing_of(recipe, data, rows) if split == "train" else None,
    )


def mixed_epochs(recipe: Recipe, until: float, images: int) -> int:
    """Whole epochs in a share of the run, at least one; `optim.max_steps` may end it before its epochs do.

    Args:
        recipe: of the run.
        until: the share.
        images: that an epoch shows.
    """
    optim = recipe.optim
    steps_per_epoch = max(1, images // optim.batch_size)
    epochs = min(optim.epochs, (optim.max_steps or math.inf) / steps_per_epoch)
    return max(1, math.floor(until * epochs + 1e-9))  # 0.7 of 10 epochs are 7, whatever the last bit


def _mixing_of(recipe: Recipe, data: DataBundle, rows: Rows) -> Mixing | None:
    mix = recipe.transforms.mix
    if mix is None:
        return None
    if mix.name == "copy_paste" and not data.is_panoptic:
        raise UserError(
            "transforms.mix: copy_paste pastes objects by their masks, and this data set has boxes only. "
            "`detr-hf convert PATH OUT --to coco-panoptic` paints them from outlines; or use ricap or mosaic."
        )
    factors = shown_factors(recipe, data, rows)
    images = len(rows) if factors is None else repeated_length(factors)
    return Mixing(mix, mixed_epochs(recipe, mix.until, images), data.labels.stuff_ids)


def class_weights_of(recipe: Recipe, data: DataBundle) -> list[float] | None:
    """A weight for each class inside the class term, or None where all have the same.

    Raises:
        UserError: the recipe weighs a class that the data does not have.
    """
    is_stage1 = isinstance(recipe, DetectionRecipe)
    loss = recipe.loss if isinstance(recipe, DetectionRecipe) else recipe.detection_loss
    if loss is None:
        return None
    if loss.balanced:
        return balanced_weights(data.dataset["train"], data.labels.num_classes)
    if loss.class_weights is None:
        return None
    names = data.labels.names
    for name in loss.class_weights:
        if name not in names:
            key = f"{'loss' if is_stage1 else 'detection_loss'}.class_weights"
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
            raise UserError(f"{key}: the data has no class {name!r}; {hint}")
    return [loss.class_weights.get(name, 1.0) for name in names]
