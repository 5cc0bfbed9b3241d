"""From a recipe to the parts of a run: accelerator, task, image processor, and what is built around them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed
from transformers.utils.logging import disable_progress_bar

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.compute import checkpoint_activations, compile_layers
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.modeling.families.registry import detector_of, family_of, is_segmenter
from detr_hf.modeling.loss_record import write_losses
from detr_hf.modeling.model_files import load_processor, refuse_other_labels
from detr_hf.modeling.panoptic_merge import MergeSettings
from detr_hf.modeling.pretrained import LoadReport, load_finished, load_stage1, load_stage2
from detr_hf.modeling.task import DetectionTask, PanopticTask, Task
from detr_hf.modeling.threshold_record import drop_threshold
from detr_hf.modeling.tile_record import TileGrid, write_tiles
from detr_hf.recipe import DetectionRecipe, PanopticModel, PanopticRecipe, Recipe
from detr_hf.training.checkpoint import agreed_checkpoint, load_training, prepare_folder
from detr_hf.training.distributed import TIMEOUT, on_cpu, set_up_device
from detr_hf.training.ema import AveragedWeights, fitted
from detr_hf.training.family_defaults import loss_settings_of, score_threshold_of, settled
from detr_hf.training.fit import refuse_unfit
from detr_hf.training.folder import refuse_unwritable
from detr_hf.training.loaders import (
    build_train_loader,
    build_validation_loader,
    class_weights_of,
)
from detr_hf.training.log import RunLog, tracker_names
from detr_hf.training.optim import build_optimizer, build_schedule
from detr_hf.training.state import Run, TrainState, total_steps


def build_accelerator(recipe: Recipe) -> Accelerator:
    """The accelerator of a run, seeded.

    Raises:
        UserError: a tracker is not installed, the device cannot compute in the precision asked for, the
            launcher splits the model, or the output folder cannot be made.
    """
    folder = Path(recipe.output_dir)
    trackers = tracker_names(recipe.trackers)
    try:
        accelerator = Accelerator(
            cpu=on_cpu(),
            mixed_precision=recipe.mixed_precision,
            log_with=trackers or None,
            project_dir=folder,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT)],
        )
    except ValueError as error:
        raise UserError(f"mixed_precision: {recipe.mixed_precision} cannot be had here ({error})") from error
    if recipe.mixed_precision == "fp16" and accelerator.device.type == "cpu":  # it would be float32
        raise UserError("mixed_precision: fp16 needs a GPU; use `bf16` or `no` on a CPU.")
    set_up_device(recipe, accelerator)
    accelerator.gradient_accumulation_steps = 1  # a launcher's setting would shrink the loss
    disable_progress_bar()  # transformers' own, for every file it reads and writes
    set_seed(recipe.seed)
    refuse_unwritable(folder)
    return accelerator


def build_task(recipe: Recipe, data: DataBundle) -> tuple[Task, LoadReport]:
    """The task of a recipe with its pretrained weights, frozen where the recipe says so.

    Raises:
        UserError: see ``load_stage1``, ``load_stage2``, ``class_weights_of`` and ``checkpoint_activations``.
    """
    weights = class_weights_of(recipe, data)
    task: Task
    if isinstance(recipe, DetectionRecipe):
        start = recipe.model
        detector, report = load_stage1(
            start.pretrained,
            data.labels,
            start.revision,
            start.scratch,
            start.num_queries,
            start.class_rows,
        )
        settings = loss_settings_of(recipe, weights, detector.config)
        task = DetectionTask(detector, data.labels, settings, recipe.loss.query_groups)
    else:
        task, report = _panoptic_task(recipe, data.labels, weights)
    write_losses(task.model.config, task.criterion.settings)
    drop_threshold(task.model.config)
    tiles = recipe.data.tiles
    write_tiles(task.model.config, None if tiles is None else TileGrid(tiles.size, tiles.overlap))
    detector, backbone = task.detector, task.family.backbone(task.detector)
    if isinstance(recipe, DetectionRecipe) or not recipe.model.freeze_detector:
        freeze_backbone(backbone, recipe.model.freeze_backbone)
    if recipe.compute.gradient_checkpointing:
        checkpoint_activations(detector, backbone)
    if recipe.compute.compile:
        compile_layers(task.family.compilable(detector))
    return task, report


def _panoptic_task(
    recipe: PanopticRecipe, labels: LabelMap, class_weights: list[float] | None
) -> tuple[PanopticTask, LoadReport]:
    start = recipe.model
    segmenter, report = load_stage2(
        start.detector, start.mask_head, labels, start.revision, start.detector_revision
    )
    settings = loss_settings_of(recipe, class_weights, segmenter.config)
    merge = _merge_settings(recipe, segmenter)
    task = PanopticTask(segmenter, labels, settings, merge, start.mask_chunk, start.freeze_detector)
    return task, report


def _merge_settings(recipe: PanopticRecipe, segmenter: Any) -> MergeSettings:
    threshold = score_threshold_of(recipe, family_of(segmenter))
    return MergeSettings(threshold, recipe.evaluation.mask_threshold)


def pq_backend_of(recipe: Recipe) -> Literal["ours", "panopticapi"]:
    """Who computes PQ in the evaluations of a recipe; "ours" where there is none."""
    return recipe.evaluation.pq_backend if isinstance(recipe, PanopticRecipe) else "ours"


def finished_task(recipe: Recipe, labels: LabelMap, source: str) -> Task:
    """The task of a recipe with the weights of a finished model.

    Raises:
        UserError: the model predicts other classes than ``labels`` has, or is of the other stage.
    """
    model = load_finished(source)
    refuse_other_labels(model.config, source, labels)
    if isinstance(recipe, DetectionRecipe):
        return DetectionTask(detector_of(model), labels)
    if not is_segmenter(model):
        raise UserError(
            f"{source} holds a detector (stage 1), but the recipe is of stage 2; give a model with masks."
        )
    merge = _merge_settings(recipe, model)
    return PanopticTask(model, labels, merge=merge, mask_chunk=recipe.model.mask_chunk)


def build_processor(recipe: Recipe) -> ImageProcessor:
    """The image processor of the pretrained model, resizing as the recipe's validation transforms do.

    It is saved with the model, so that stock ``pipeline()`` and ``Predictor`` see images as the evaluation
    did.

    Raises:
        UserError: the validation transforms are something else than one resize that a processor can repeat.
    """
    if isinstance(recipe, DetectionRecipe):
        processor = load_processor(recipe.model.pretrained, recipe.model.revision)
    else:
        processor = load_processor(recipe.model.detector, recipe.model.detector_revision)
    entries = recipe.transforms.validation
    if [entry["name"] for entry in entries] != ["ShortEdgeResize"] or not entries[0].get("max_long_edge"):
        raise UserError(
            "transforms.validation: must be one ShortEdgeResize with short_edges and max_long_edge. The "
            "image processor saved with the model does the same resize, and it knows no other."
        )
    shortest, longest = entries[0]["short_edges"][0], entries[0]["max_long_edge"]
    processor.size = {"shortest_edge": shortest, "longest_edge": longest}
    return processor


def build_run(recipe: Recipe, accelerator: Accelerator, data: DataBundle, task: Task) -> Run:
    """Loaders, optimizer, schedule and log around a task; with ``resume``, as the last checkpoint left them.

    Raises:
        UserError: the data do not fit the task or the label map, or the checkpoint is of another run.
    """
    refuse_unfit(recipe, data)
    recipe = settled(recipe, task.model.config)
    folder = Path(recipe.output_dir)
    processor = build_processor(recipe)
    train_loader = build_train_loader(recipe, data, processor, accelerator)
    task.to(accelerator.device)
    optimizer = build_optimizer(task, recipe.optim)
    state = TrainState(identity_of(recipe, data, task, len(train_loader.dataset)))
    new_tracker_id = state.tracker_id
    checkpoint = agreed_checkpoint(accelerator, folder, recipe.resume)
    if checkpoint is not None:
        state, stream = load_training(checkpoint, accelerator, task, optimizer, state.identity)
        accelerator.print(f"resuming from {checkpoint} at step {state.step}")
        if checkpoint.parent.resolve() != folder.resolve():
            state.tracker_id = new_tracker_id  # the older run keeps its own
        if remark := train_loader.sampler.restore(stream, state.step):
            accelerator.print(remark)
    if not (folder / "best").is_dir():
        state.forget_scores()
    ema = None
    steps = total_steps(recipe, train_loader.sampler.steps_per_epoch)
    if recipe.optim.ema is None:
        state.tensors.clear()
    else:
        ema = AveragedWeights(task, fitted(recipe.optim.ema, steps), state.tensors)
    schedule = build_schedule(optimizer, recipe.optim.schedule, steps, state.step)
    accelerator.wait_for_everyone()  # all have read the checkpoint
    if accelerator.is_main_process:
        prepare_folder(folder, recipe.resume, checkpoint)
    return Run(
        recipe=recipe,
        accelerator=accelerator,
        task=task,
        ddp_task=accelerator.prepare_model(task),  # on several processes, in `DistributedDataParallel`
        processor=processor,
        optimizer=accelerator.prepare_optimizer(optimizer),
        schedule=schedule,
        train_loader=train_loader,
        validation_loader=build_validation_loader(recipe, data, processor, accelerator),
        truth=GroundTruth(data.dataset["validation"]),
        state=state,
        log=RunLog(accelerator, recipe, state.step, state.tracker_id, state.is_evaluated),
        ema=ema,
    )


def identity_of(recipe: Recipe, data: DataBundle, task: Task, training_images: int) -> dict[str, Any]:
    """What must be unchanged for a run to be resumed; anything else may change, and counts from then on."""
    model = recipe.model
    sources = (model.detector, model.mask_head) if isinstance(model, PanopticModel) else (model.pretrained,)
    identity: dict[str, Any] = {
        "task": recipe.task,
        "classes": list(data.labels.names),
        "starts_from": ["/".join(Path(source).parts[-2:]) for source in sources],  # run from any folder
        "batch_size": recipe.optim.batch_size,
        "num_queries": None,
        "query_groups": None,
    }
    if isinstance(recipe, DetectionRecipe):
        identity["num_queries"] = recipe.model.num_queries
        identity["query_groups"] = recipe.loss.query_groups if recipe.loss.query_groups > 1 else None
    # What others follow from comes first, so that a refusal names the setting: query groups have tensors,
    # tiles decide the number of images.
    identity["learning_tensors"] = sum(parameter.requires_grad for parameter in task.parameters())
    identity["tiles"] = None if recipe.data.tiles is None else asdict(recipe.data.tiles)
    identity["training_images"] = training_images
    identity["training_data"] = {"name": recipe.data.place, "key": data.training_key}
    identity["repeat_threshold"] = recipe.data.repeat_threshold  # it decides how long an epoch is
    if data.stream is not None:  # what its order follows from, beside seed and batch size
        identity |= {"shards": data.stream.rows.num_shards, "shuffle_buffer": recipe.data.shuffle_buffer}
    return identity
