"""How many images fit through the model at once on this device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch, Target
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import load_sample
from detr_hf.recipe import Recipe
from detr_hf.training.build import build_accelerator, build_processor, build_task
from detr_hf.training.fit import refuse_unfit
from detr_hf.training.folder import locked
from detr_hf.training.loaders import build_dataset
from detr_hf.training.optim import build_optimizer

LOOKED_AT = 32
"""Training samples that show how large a batch can get, and how many objects an image has."""

STEPS = 2
"""The second one has the optimizer's state in memory too."""


def with_found_batch_size(recipe: Recipe, resolved: Recipe) -> Recipe:
    """The recipe with the largest ``micro_batch_size`` that fits; ``batch_size``, and so the result, stays.

    Trains two steps on the largest batch that the transforms gave among a few samples, all of them with as
    many objects as the one with the most; where that does not fit into memory, on the next smaller divisor
    of ``batch_size``.

    Args:
        recipe: to be changed.
        resolved: the same with the demo's data and models made, see ``resolve_demo``.

    Raises:
        UserError: not one image fits, or there are several processes.
    """
    accelerator = build_accelerator(recipe)
    if accelerator.num_processes > 1:
        raise UserError(
            "--find-batch-size: run it on one process, and give optim.micro_batch_size to the others."
        )
    with locked(accelerator, recipe):
        data = build_bundle(resolved.data, resolved.output_dir)
    refuse_unfit(resolved, data)
    dataset = build_dataset(resolved, data, "train", build_processor(resolved))
    canvas_hw, most_objects = worst_case(dataset)

    def trial(batch_size: int) -> int:
        task, _ = build_task(resolved, data)
        task.to(accelerator.device)
        optimizer = build_optimizer(task, resolved.optim)
        model, optimizer = accelerator.prepare(task, optimizer)
        model.train()
        batch = batch_of(batch_size, canvas_hw, most_objects).to(accelerator.device)
        for _ in range(STEPS):
            losses = model(
                batch.pixel_values, batch.pixel_mask, batch.targets, task.normalizers(batch.targets)
            )
            accelerator.backward(losses["loss"])
            optimizer.step()
            optimizer.zero_grad()
        return batch_size

    found = largest_that_fits(recipe.optim.batch_size, trial, accelerator)
    changed = replace(recipe, optim=replace(recipe.optim, micro_batch_size=found))
    if found == 1 and recipe.data.batching == "aspect":
        changed = replace(changed, data=replace(changed.data, batching="random"))
    return changed


def largest_that_fits(batch_size: int, trial: Callable[[int], int], accelerator: Accelerator) -> int:
    """The largest divisor of ``batch_size`` that ``trial`` does not run out of memory with.

    Raises:
        UserError: not even one image fits.
    """
    smaller = iter([size for size in range(batch_size - 1, 0, -1) if batch_size % size == 0] + [0])

    def attempt(batch_size: int) -> int:
        try:
            return trial(batch_size)
        finally:
            accelerator.free_memory()

    try:
        search = find_executable_batch_size(attempt, batch_size, lambda: next(smaller))
        return search()
    except RuntimeError as error:
        if "No executable batch size found" in str(error):
            raise UserError(
                "--find-batch-size: not one image fits into the memory; lower the sizes in transforms.train, "
                "or set compute.gradient_checkpointing: true."
            ) from error
        raise


def worst_case(dataset: DetectionDataset) -> tuple[tuple[int, int], Target]:
    """Height and width of the largest batch that a few samples can make, and the target with most objects."""
    # a broken image is for the run itself to report
    keys = dataset.rows.preview_keys(LOOKED_AT)
    targets = [load_sample(dataset, key, skip_bad=True).target for key in keys]
    height, width = (max(target["size_hw"][side] for target in targets) for side in (0, 1))
    return (height, width), max(targets, key=lambda target: len(target["class_labels"]))


def batch_of(images: int, canvas_hw: tuple[int, int], target: Target) -> Batch:
    """A batch of gray images of one size, each with the objects of ``target``."""
    height, width = canvas_hw
    whole: Target = {**target, "size_hw": canvas_hw} if "id_map" not in target else target
    mask = torch.ones(images, height, width, dtype=torch.int64)
    return Batch(torch.zeros(images, 3, height, width), mask, [whole] * images)
