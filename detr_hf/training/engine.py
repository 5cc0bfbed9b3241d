"""One epoch of training, and one evaluation. What depends on the stage is asked of the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from detr_hf.errors import quantity
from detr_hf.inference.tiling import TileCollector
from detr_hf.loading.collate import Batch, collate
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import BatchLoader
from detr_hf.loading.rows import TableRows
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.coco_ap import CocoAP
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.modeling.backbones import map_stride
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction
from detr_hf.modeling.task import PanopticTask, Task
from detr_hf.progress import progress
from detr_hf.training.checkpoint import save_training
from detr_hf.training.distributed import any_rank, sum_over_processes
from detr_hf.training.log import Meter
from detr_hf.training.nonfinite import non_finite_in, skip_or_stop
from detr_hf.training.signals import SignalHandler
from detr_hf.training.state import Run


class EvaluationInterrupted(Exception):  # noqa: N818 - not an error
    """An evaluation was interrupted before its end; it has no result."""


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found.

    Attributes:
        metrics: ``{"detection": ..., "panoptic": ...}`` as ``CocoAP`` and ``PanopticQuality`` give them, the
            same on every process; "panoptic" only for a ``PanopticTask``.
        per_image: what was counted in every image; on the main process, None on the others.
    """

    metrics: dict[str, Any]
    per_image: PerImageResults | None


def train_one_epoch(run: Run, signals: SignalHandler) -> dict[str, Any] | None:
    """The rest of the current epoch, one optimizer step at a time; saves when due, returns early to stop.

    Returns:
        What is logged of the epoch, its mean "loss" among it; None where it was stopped.
    """
    state, sampler = run.state, run.train_loader.sampler
    epoch, done = divmod(state.step, run.steps_per_epoch)
    last_step = min(run.steps_per_epoch, run.total_steps - epoch * run.steps_per_epoch)
    sampler.set_position(epoch, done)
    batches = iter(run.train_loader)
    run.task.train()
    what, is_shown = f"epoch {epoch + 1}/{run.epochs}", run.accelerator.is_main_process
    bar = progress(range(done + 1, last_step + 1), last_step, what, done, is_shown, unit="step")
    device, batch_size = run.accelerator.device, run.recipe.optim.batch_size
    meter = Meter(run.optimizer, device, batch_size, state.epoch_sums)
    for step in bar:
        with meter.loading():
            micro_batches = [next(batches) for _ in range(sampler.micro_batches_per_step)]
        measured = optimizer_step(run, micro_batches)
        meter.add(measured)
        run.clock.add_step(meter.finish_step())
        bar.set_postfix_str(f"loss {measured.get('loss', math.nan):.3f}, run: {run.time_left}")
        run.log.write_bad_samples(state.step, micro_batches)
        if state.step % run.recipe.log_every == 0:
            run.log.write(state.step, "step", {"epoch": epoch + 1, **meter.window_line()})
        if step < last_step:  # after the last one the caller evaluates and saves
            decision = signals.sync(state.step)
            if decision.reason:
                return None
            if decision.save:
                save_training(run)
                signals.saved()
                meter.start_clock()
    facts = {"epoch": epoch + 1, **meter.epoch_line()}
    if state.skipped:
        facts["skipped_steps"] = state.skipped
    run.log.write(state.step, "train", facts)
    if bad := facts.get("bad_samples"):
        what = f"epoch {epoch + 1}: {quantity(bad, 'image')} could not be loaded; others took their place"
        run.accelerator.print(f"{what}; see {run.log.bad_samples_path}")
    return facts


def optimizer_step(run: Run, micro_batches: list[Batch]) -> dict[str, float]:
    """Forward and backward of all micro-batches, and one update, the same however the images are divided.

    Returns:
        The loss terms of the whole step, over all micro-batches and processes, with "gradient_norm" and
        "bad_samples"; of a step that was skipped "bad_samples" alone.
    """
    accelerator, task, state = run.accelerator, run.ddp_task, run.state
    batches = [batch.to(accelerator.device) for batch in micro_batches]
    normalizers = step_normalizers(accelerator, run.task, batches)
    rows: list[Tensor] = []
    terms: dict[str, Tensor] = {}
    for batch in batches:
        # Gradients are all-reduced once, with the last micro-batch; until then they accumulate here.
        with nullcontext() if batch is batches[-1] else accelerator.no_sync(task):
            terms = task(batch.pixel_values, batch.pixel_mask, batch.targets, normalizers)
            # Every loss is a sum over its objects divided by what the whole step holds, not a mean of means:
            # so an object weighs the same whichever images it shares a pass with. DDP averages gradients over
            # the processes; the factor makes that average the sum again.
            accelerator.backward(terms["loss"] * accelerator.num_processes)
        rows.append(torch.stack([term.detach().float() for term in terms.values()]))
    norm = float(accelerator.clip_grad_norm_(task.parameters(), run.recipe.optim.clip_norm))
    values = torch.stack(rows).tolist()  # [micro-batch][term]: one wait for the device instead of one a term
    # A loss scaler skips a gradient that overflowed by itself, and scales down; that is not an error.
    bad_gradient = not math.isfinite(norm) and accelerator.scaler is None
    faults = non_finite_in(batches, list(terms), values, bad_gradient)
    own = [sum(column) for column in zip(*values, strict=True)]  # this process's share of every term
    bad_samples = sum(len(batch.skipped) for batch in batches)
    # One all-reduce: is the step finite on every process, and what is the loss of the whole step?
    is_faulty, bad_samples_in_all, *totals = sum_over_processes(
        accelerator, [float(bool(faults.terms)), float(bad_samples), *own]
    )
    measured = {"bad_samples": bad_samples_in_all}
    if is_faulty:  # on any process: all of them skip the step, or their weights would diverge
        skip_or_stop(run, faults)
        if accelerator.scaler is not None:
            accelerator.scaler.update()  # it refuses the next step otherwise
    else:
        run.optimizer.step()
        if run.ema is not None:
            run.ema.update(state.step + 1)
        measured |= {**dict(zip(terms, totals, strict=True)), "gradient_norm": norm}
    run.schedule.step()  # also after a skipped step: rates follow from the step's number
    run.optimizer.zero_grad()
    state.step += 1
    return measured


def step_normalizers(accelerator: Accelerator, task: Task, batches: list[Batch]) -> Normalizers:
    """What the losses of one optimizer step are divided by, over all its micro-batches and processes.

    It follows from the targets alone, so it is known before the first forward pass; a mean over a micro-batch
    would weigh the objects of a crowded image less.
    """
    mine = Normalizers(0.0, 0.0)
    for batch in batches:
        mine = mine + task.normalizers(batch.targets)
    objects, class_weight_sum = sum_over_processes(accelerator, [mine.objects, mine.class_weight_sum])
    return Normalizers(objects, class_weight_sum)


@torch.no_grad()
def evaluate(
    accelerator: Accelerator,
    task: Task,
    loader: BatchLoader,
    truth: GroundTruth,
    interrupted: Callable[[], bool] = lambda: False,
    pq_backend: Literal["ours", "panopticapi"] = "ours",
) -> EvaluationResult:
    """Box AP and AR of either stage; PQ as well for the second.

    Runs in float32 whatever the training precision, without padding, and counts every image once, whatever
    the number of processes. In tiles, as ``TiledPredictor`` predicts, scored on whole images.

    Args:
        interrupted: asked before every batch; where it answers yes on any process, all of them stop.
        pq_backend: see ``PanopticQuality``.

    Raises:
        EvaluationInterrupted: it was interrupted.
    """
    task.eval()
    box_metric = CocoAP(task.labels)
    panoptic_metric = None
    if isinstance(task, PanopticTask):
        panoptic_metric = PanopticQuality(task.labels, backend=pq_backend)
    bar = progress(loader, len(loader), "evaluate", is_shown=accelerator.is_main_process, unit="batch")
    images, stopped_here = _collector(task, loader.dataset), False
    for batch in bar:
        if stopped_here := interrupted():
            break
        batch = batch.to(accelerator.device)
        found = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)
        for prediction in images.whole(found, batch.targets):
            reference = truth.detection(prediction.image_id)
            box_metric.add(prediction=_box_row(prediction.detections), reference=reference)
            if panoptic_metric is not None:
                assert isinstance(prediction, PanopticPrediction)
                reference = truth.panoptic(prediction.image_id)
                panoptic_metric.add(prediction=panoptic_row(prediction), reference=reference)
    # Once, after the loop: processes have unlike numbers of batches, and cannot synchronize after each.
    if any_rank(accelerator, stopped_here):
        raise EvaluationInterrupted
    metrics, of_segments = {}, None
    metrics["detection"], of_boxes = _merged(accelerator, box_metric)
    if panoptic_metric is not None:
        metrics["panoptic"], of_segments = _merged(accelerator, panoptic_metric)
    if of_boxes is None:
        return EvaluationResult(metrics, None)
    num_queries = task.family.num_queries(task.model.config)
    stride = map_stride(task.family.backbone(task.detector), task.detector.config)
    return EvaluationResult(metrics, PerImageResults(of_boxes, of_segments, num_queries, stride))


def _merged(
    accelerator: Accelerator, metric: CocoAP | PanopticQuality
) -> tuple[dict[str, Any], list[ImageEntry] | None]:
    """The result on every process, and on the main one the entries of all images."""
    states = gather_object([metric.state()])
    result: list[Any] = [None]
    entries = None
    if accelerator.is_main_process:
        metric.load_states(states)
        entries, result = metric.state(), [metric.compute()]
    return broadcast_object_list(result)[0], entries


def _box_row(found: Detections) -> dict[str, Any]:
    return {
        "image_id": found.image_id,
        "boxes_xyxy_px": found.boxes_xyxy_px,
        "scores": found.scores,
        "labels": found.labels,
        "queries": found.queries,
    }


def panoptic_row(found: PanopticPrediction) -> dict[str, Any]:
    """As ``PanopticQuality`` takes it."""
    segments = [{"id": segment.id, "category_id": segment.category_id} for segment in found.segments]
    return {"image_id": found.image_id, "id_map": found.id_map, "segments": segments}


def predict_one(task: Task, dataset: DetectionDataset, image: int) -> Prediction:
    """What a task in eval mode finds in one image of a split, in tiles if the data set is.

    Raises:
        UserError: the image cannot be loaded.
    """
    assert isinstance(dataset.rows, TableRows), "images of a stream have no number"
    batches = (collate([dataset[key]]) for key in dataset.rows.keys_of(image))
    return next(predict_batches(task, dataset, batches))


@torch.no_grad()
def predict_batches(task: Task, dataset: DetectionDataset, batches: Iterable[Batch]) -> Iterator[Prediction]:
    """What a task in eval mode finds in each image of batches of a split, in tiles if the data set is."""
    device, images = next(task.parameters()).device, _collector(task, dataset)
    for batch in batches:
        on_device = batch.to(device)
        found = task.predict(on_device.pixel_values, on_device.pixel_mask, on_device.targets)
        yield from images.whole(found, on_device.targets)


def predict_at(
    task: PanopticTask, dataset: DetectionDataset, image: int, score_thresholds: Sequence[float]
) -> list[Prediction]:
    """As ``predict_one``, at each of some thresholds."""
    assert isinstance(dataset.rows, TableRows), "images of a stream have no number"
    device = next(task.parameters()).device
    collectors = [_collector(task, dataset) for _ in score_thresholds]
    whole: list[list[Prediction]] = [[] for _ in score_thresholds]
    for key in dataset.rows.keys_of(image):
        batch = collate([dataset[key]]).to(device)
        found = task.predict_at(score_thresholds, batch.pixel_values, batch.pixel_mask, batch.targets)
        for done, images, one in zip(whole, collectors, found, strict=True):
            done += images.whole(one, batch.targets)
    return [done[0] for done in whole]


def _collector(task: Task, dataset: DetectionDataset) -> TileCollector:
    tiling = dataset.rows.tiling
    return TileCollector(task.labels, None if tiling is None else tiling.windows)
