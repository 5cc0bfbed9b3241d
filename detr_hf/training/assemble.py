"""All parts of a run put together, at the point where it starts or goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.loading.balance import aspects_of, repeat_factors
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import BatchLoader, TrainingLoader, evaluation_loader
from detr_hf.loading.rows import Rows, TableRows
from detr_hf.loading.samplers import BatchPlan, StepSampler, TrainingSampler
from detr_hf.loading.stream_sampler import StreamSampler
from detr_hf.loading.streamed import StreamRows
from detr_hf.loading.transforms import build_transforms
from detr_hf.loading.truth import GroundTruth, check_labels
from detr_hf.prepare.bundle import DataBundle, ImageStream
from detr_hf.recipe import PanopticModel, PanopticRecipe, Recipe
from detr_hf.training.bad_sample_log import BadSampleLog
from detr_hf.training.checkpoints import (
    Progress,
    Resumed,
    agreed_checkpoint,
    load_training,
    settle_folder,
    under,
)
from detr_hf.training.early_stopping import Patience
from detr_hf.training.ema import AverageOfWeights
from detr_hf.training.meter import Meter
from detr_hf.training.optim import build_optimizer, build_schedule
from detr_hf.training.run import Run, total_steps
from detr_hf.training.setup import Task, build_processor
from detr_hf.training.tracking import RunLog


def assemble(
    recipe: Recipe, accelerator: Accelerator, data: DataBundle, task: Task, started: float | None = None
) -> Run:
    """Loaders, optimizer, schedule and log around a task; with ``resume``, as the last checkpoint left them.

    ``started`` is what `time_limit` counts from, of ``time.monotonic``; None: now.

    Raises:
        UserError: the data do not fit the task or the label map, or the checkpoint is of another run.
    """
    refuse_unfit(recipe, data)
    folder = Path(recipe.output_dir)
    processor = build_processor(recipe)
    world = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    training = training_batches(recipe, data, processor, **world)
    task.to(accelerator.device)
    optimizer = build_optimizer(task, recipe.optim)
    identity = identity_of(recipe, data, task, len(training.dataset))
    checkpoint = agreed_checkpoint(accelerator, folder, recipe.resume)
    resumed = Resumed(Progress())
    if checkpoint is not None:
        resumed = load_training(checkpoint, accelerator, task, optimizer, identity)
        accelerator.print(f"going on from {checkpoint} at step {resumed.progress.step}")
        if checkpoint.parent.resolve() != folder.resolve():
            resumed.tracker_run = None  # the older run goes on to be shown by that name
    progress = resumed.progress
    training.sampler.restore(resumed.stream)
    average, patience = aids(recipe, task, resumed, has_best=(folder / "best").is_dir())
    steps = total_steps(recipe, training.sampler.steps_per_epoch)
    schedule = build_schedule(optimizer, recipe.optim.schedule, steps, progress.step)
    model = accelerator.prepare_model(task)
    prepared_optimizer = accelerator.prepare_optimizer(optimizer)
    meter = Meter(accelerator, prepared_optimizer, recipe.optim.batch_size)
    meter.restore(resumed.terms, **world)
    accelerator.wait_for_everyone()  # all have read the checkpoint
    if accelerator.is_main_process:
        settle_folder(folder, recipe.resume, checkpoint)
    return Run(
        recipe=recipe,
        accelerator=accelerator,
        task=task,
        model=model,
        processor=processor,
        optimizer=prepared_optimizer,
        schedule=schedule,
        training=training,
        validation=validation_loader(recipe, data, processor, **world),
        truth=GroundTruth(data.dataset["validation"]),
        log=RunLog(accelerator, recipe, progress.step, resumed.tracker_run, progress.is_evaluated),
        identity=identity,
        progress=progress,
        meter=meter,
        bad_samples=BadSampleLog(folder, accelerator, progress.step),
        patience=patience,
        average=average,
        extra=extra_tensors(average, patience),
        started=time.monotonic() if started is None else started,
    )


def training_batches(
    recipe: Recipe, data: DataBundle, processor: DetrImageProcessor, rank: int = 0, world_size: int = 1
) -> TrainingLoader:
    """Micro-batches of the training split, in the order and the shapes that the recipe asks for."""
    dataset = dataset_of(recipe, data, "train", processor)
    plan = BatchPlan(recipe.optim.batch_size, recipe.optim.micro_batch_size, recipe.seed, rank, world_size)
    skip_bad = recipe.data.on_bad_sample == "skip"
    sampler: TrainingSampler
    if data.stream is not None:
        buffer = recipe.data.shuffle_buffer
        sampler = StreamSampler(data.stream.rows, len(dataset), plan, buffer, with_spares=skip_bad)
    else:
        aspects = aspects_of(data.dataset["train"]) if recipe.data.batching == "aspect" else None
        sampler = StepSampler(len(dataset), plan, factors_of(recipe, data), aspects)
    return TrainingLoader(dataset, sampler, recipe.data.workers, skip_bad)


def aids(
    recipe: Recipe, task: Task, resumed: Resumed, has_best: bool
) -> tuple[AverageOfWeights | None, Patience]:
    """Averaged weights and patience as the checkpoint left them; without ``best/`` no score counts yet."""
    average = None if recipe.optim.ema is None else AverageOfWeights(task, recipe.optim.ema)
    patience = Patience(recipe)
    if average is not None:
        average.load(under("ema.", resumed.extra))
    if has_best:
        patience.load(under("patience.", resumed.extra))
    else:
        resumed.progress.best = resumed.progress.best_step = None
    return average, patience


def extra_tensors(average: AverageOfWeights | None, patience: Patience) -> dict[str, Tensor]:
    """What checkpoints carry besides; the tensors are changed in place as the run goes on."""
    averaged = {} if average is None else average.tensors()
    extra = {f"ema.{name}": value for name, value in averaged.items()}
    return extra | {f"patience.{name}": value for name, value in patience.tensors().items()}


def factors_of(recipe: Recipe, data: DataBundle) -> NDArray[np.float64] | None:
    """How often an epoch shows each training image; None where each is shown once."""
    threshold = recipe.data.repeat_threshold
    if threshold is None:
        return None
    return repeat_factors(data.dataset["train"], data.labels.num_classes, threshold)


def identity_of(recipe: Recipe, data: DataBundle, task: Task, training_images: int) -> dict[str, Any]:
    """What must stay as it was for a run to go on; anything else may change, and counts from then on."""
    model = recipe.model
    sources = (model.detector, model.mask_head) if isinstance(model, PanopticModel) else (model.pretrained,)
    repeating = recipe.data.repeat_threshold  # it decides how long an epoch is
    return {
        **({} if repeating is None else {"repeat_threshold": repeating}),
        **({} if data.stream is None else _order_of_stream(recipe, data.stream)),
        "task": recipe.task,
        "classes": list(data.labels.names),
        "starts_from": ["/".join(Path(source).parts[-2:]) for source in sources],  # run from any folder
        "learning_tensors": sum(parameter.requires_grad for parameter in task.parameters()),
        "batch_size": recipe.optim.batch_size,
        "training_images": training_images,
    }


def _order_of_stream(recipe: Recipe, stream: ImageStream) -> dict[str, Any]:
    """What the order of a stream follows from, beside seed and batch size."""
    return {"shards": stream.rows.num_shards, "shuffle_buffer": recipe.data.shuffle_buffer}


def refuse_unfit(recipe: Recipe, data: DataBundle) -> None:
    """Before the first step: masks where stage 2 needs them, and every label a class of the model."""
    if isinstance(recipe, PanopticRecipe) and not data.is_panoptic:
        raise UserError(
            "data: stage 2 learns masks, but this data set has boxes only (no `panoptic` PNG files)."
        )
    for split in data.dataset.values():
        check_labels(split, data.labels.num_classes)


def dataset_of(
    recipe: Recipe, data: DataBundle, split: str, processor: DetrImageProcessor
) -> DetectionDataset:
    """Images of "train" or "validation" with the recipe's transforms and the processor's colors."""
    rows: Rows
    if split == "train" and data.stream is not None:
        stream = data.stream
        rows = StreamRows(stream.rows, stream.check, stream.images, stream.is_panoptic)
    else:
        rows = TableRows(data.dataset[split])
    entries = recipe.transforms.train if split == "train" else recipe.transforms.validation
    return DetectionDataset(
        rows,
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
    dataset = dataset_of(recipe, data, "validation", processor)
    return evaluation_loader(dataset, recipe.evaluation.batch_size, recipe.data.workers, rank, world_size)
