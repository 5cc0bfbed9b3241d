"""All parts of a run put together, at the point where it starts or goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.loading.dataset import PreparedImages
from detr_hf.loading.loaders import BatchLoader, evaluation_loader, training_loader
from detr_hf.loading.transforms import build_transforms
from detr_hf.loading.truth import TruthOfSplit, check_labels
from detr_hf.prepare.bundle import DataBundle
from detr_hf.recipe import PanopticModel, PanopticRecipe, Recipe
from detr_hf.training.checkpoints import Progress, find_checkpoint, forget_training, load_training
from detr_hf.training.loop import Run, total_steps
from detr_hf.training.optim import build_optimiser, build_schedule
from detr_hf.training.setup import Task, build_processor
from detr_hf.training.tracking import RunLog


def assemble(recipe: Recipe, accelerator: Accelerator, data: DataBundle, task: Task) -> Run:
    """Loaders, optimiser, schedule and log around a task; with ``resume``, as the last checkpoint left them.

    Raises:
        UserError: the data do not fit the task or the label map, or the checkpoint is of another run.
    """
    refuse_unfit(recipe, data)
    folder = Path(recipe.output_dir)
    processor = build_processor(recipe)
    world = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    training_images = prepared(recipe, data, "train", processor)
    training = training_loader(
        training_images,
        recipe.optim.batch_size,
        recipe.optim.micro_batch_size,
        recipe.seed,
        recipe.data.workers,
        **world,
    )
    task.to(accelerator.device)
    optimiser = build_optimiser(task, recipe.optim)
    identity = identity_of(recipe, data, task, len(training_images))
    progress = Progress()
    checkpoint = find_checkpoint(folder, recipe.resume)
    if checkpoint is not None:
        progress = load_training(checkpoint, accelerator, task, optimiser, identity)
        accelerator.print(f"going on from {checkpoint} at step {progress.step}")
    if not (folder / "best").is_dir():
        progress.best = progress.best_step = None
    steps = total_steps(recipe, training.sampler.steps_per_epoch)
    schedule = build_schedule(optimiser, recipe.optim.schedule, steps, progress.step)
    model, prepared_optimiser = accelerator.prepare(task, optimiser)
    accelerator.wait_for_everyone()  # all have read the checkpoint
    if accelerator.is_main_process and (checkpoint is None or checkpoint.parent != folder):
        forget_training(folder)
    return Run(
        recipe=recipe,
        accelerator=accelerator,
        task=task,
        model=model,
        processor=processor,
        optimiser=prepared_optimiser,
        schedule=schedule,
        training=training,
        validation=validation_loader(recipe, data, processor, **world),
        truth=TruthOfSplit(data.dataset["validation"]),
        log=RunLog(accelerator, recipe, progress.step),
        identity=identity,
        progress=progress,
    )


def identity_of(recipe: Recipe, data: DataBundle, task: Task, training_images: int) -> dict[str, Any]:
    """What must stay as it was for a run to go on; anything else may change, and counts from then on."""
    model = recipe.model
    sources = (model.detector, model.mask_head) if isinstance(model, PanopticModel) else (model.pretrained,)
    return {
        "task": recipe.task,
        "classes": list(data.labels.names),
        "starts_from": ["/".join(Path(source).parts[-2:]) for source in sources],  # run from any folder
        "learning_tensors": sum(parameter.requires_grad for parameter in task.parameters()),
        "batch_size": recipe.optim.batch_size,
        "training_images": training_images,
    }


def refuse_unfit(recipe: Recipe, data: DataBundle) -> None:
    """Before the first step: masks where stage 2 needs them, and every label a class of the model."""
    if isinstance(recipe, PanopticRecipe) and not data.is_panoptic:
        raise UserError(
            "data: stage 2 learns masks, but this data set has boxes only (no `panoptic` PNG files)."
        )
    for split in data.dataset.values():
        check_labels(split, data.labels.num_classes)


def prepared(recipe: Recipe, data: DataBundle, split: str, processor: DetrImageProcessor) -> PreparedImages:
    """Images of "train" or "validation" with the recipe's transforms and the processor's colours."""
    entries = recipe.transforms.train if split == "train" else recipe.transforms.validation
    return PreparedImages(
        data.dataset[split],
        build_transforms(entries, f"transforms.{split}"),
        recipe.seed,
        with_masks=isinstance(recipe, PanopticRecipe) and split == "train",
        mean=processor.image_mean,
        std=processor.image_std,
    )


def validation_loader(
    recipe: Recipe, data: DataBundle, processor: DetrImageProcessor, rank: int = 0, world_size: int = 1
) -> BatchLoader:
    """Every validation image once over all processes, in batches without padding."""
    images = prepared(recipe, data, "validation", processor)
    return evaluation_loader(images, recipe.evaluation.batch_size, recipe.data.workers, rank, world_size)
