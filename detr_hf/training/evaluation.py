"""Scoring a task on a split: every image once, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, tqdm

from detr_hf.loading.loaders import BatchLoader
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.coco_ap import CocoAP
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from detr_hf.training.nonfinite import any_rank
from detr_hf.training.setup import Task


class EvaluationInterrupted(Exception):  # noqa: N818 - not an error
    """An evaluation was interrupted, and will have to be made again."""


@torch.no_grad()
def evaluate(
    accelerator: Accelerator,
    task: Task,
    loader: BatchLoader,
    truth: GroundTruth,
    interrupted: Callable[[], bool] = lambda: False,
    keep: Callable[[PerImageResults], None] | None = None,
) -> dict[str, Any]:
    """Box AP and AR of either stage; PQ as well for the second.

    Runs in float32 whatever the training precision, without padding, and counts every image once. Every
    process gets the same result.

    Args:
        interrupted: asked before every batch; where it says yes on any process, all of them give up.
        keep: given what was counted in every image, on the main process.

    Returns:
        ``{"detection": ..., "panoptic": ...}`` as ``CocoAP`` and ``PanopticQuality`` give them; "panoptic"
            only for a ``PanopticTask``.

    Raises:
        EvaluationInterrupted: it was interrupted.
    """
    task.eval()
    box_metric = CocoAP(task.labels)
    panoptic_metric = None
    if isinstance(task, PanopticTask):
        panoptic_metric = PanopticQuality(task.labels, backend=task.evaluation.pq_backend)
    bar = tqdm(
        loader, total=len(loader), desc="evaluate", leave=False, disable=not accelerator.is_main_process
    )
    given_up = False
    for batch in bar:
        if given_up := interrupted():
            break
        batch = batch.to(accelerator.device)
        predictions = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)
        for prediction in predictions:
            boxes = prediction.detections if isinstance(prediction, PanopticPrediction) else prediction
            box_metric.add(prediction=_box_row(boxes), reference=truth.detection(boxes.image_id))
            if panoptic_metric is not None:
                assert isinstance(prediction, PanopticPrediction)
                reference = truth.panoptic(prediction.image_id)
                panoptic_metric.add(prediction=_panoptic_row(prediction), reference=reference)
    if any_rank(accelerator, given_up):
        raise EvaluationInterrupted
    results, of_segments = {}, None
    results["detection"], of_boxes = _merged(accelerator, box_metric)
    if panoptic_metric is not None:
        results["panoptic"], of_segments = _merged(accelerator, panoptic_metric)
    if keep is not None and accelerator.is_main_process:
        keep(PerImageResults(of_boxes, of_segments))
    return results


def _merged(
    accelerator: Accelerator, metric: CocoAP | PanopticQuality
) -> tuple[dict[str, Any], list[ImageEntry]]:
    """The result on every process, and on the main one the entries of all images."""
    states = gather_object([metric.state()])
    result: list[Any] = [None]
    entries: list[ImageEntry] = []
    if accelerator.is_main_process:
        metric.load_states(states)
        entries = metric.state()
        result = [metric.compute()]
    return broadcast_object_list(result)[0], entries


def _box_row(found: Detections) -> dict[str, Any]:
    return {
        "image_id": found.image_id,
        "boxes_xyxy_px": found.boxes_xyxy_px,
        "scores": found.scores,
        "labels": found.labels,
    }


def _panoptic_row(found: PanopticPrediction) -> dict[str, Any]:
    segments = [{"id": segment.id, "category_id": segment.category_id} for segment in found.segments]
    return {"image_id": found.image_id, "id_map": found.id_map, "segments": segments}
