"""Which score threshold a finished model predicts with by default: the best one on the validation split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detr_hf.errors import UserError
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.box_scores import count_objects
from detr_hf.metrics.matching import threshold_of_boxes
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.modeling.task import PanopticTask, Task
from detr_hf.modeling.threshold_record import record_threshold
from detr_hf.training.engine import panoptic_row, predict_at

TRIED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""In stage 2, beside the one that PQ was measured with."""

SAMPLE = 40
"""Validation images that they are tried on: each is merged once for every threshold."""

LEAST_GAIN = 0.01
"""Of PQ on those images; for less, the threshold that PQ was measured with stays."""


def choose_threshold(
    task: Task, dataset: DetectionDataset, truth: GroundTruth, per_image: PerImageResults | None
) -> float | None:
    """The threshold that suits a model in eval mode best.

    Args:
        task: of either stage.
        dataset: the validation split.
        truth: of the same.
        per_image: what its evaluation saw.

    Returns:
        Of stage 1 that of the best mean F1, see ``best_threshold``, and None where nothing is known or found;
        of stage 2 that of the best PQ, and None where every PQ is 0.
    """
    if isinstance(task, PanopticTask):
        return _of_segments(task, dataset, truth)
    if per_image is None:
        return None
    return threshold_of_boxes(per_image.boxes, count_objects(per_image.boxes, task.labels.num_classes))


def _of_segments(task: PanopticTask, dataset: DetectionDataset, truth: GroundTruth) -> float | None:
    measured_at = task.merge.score_threshold
    thresholds = sorted({measured_at, *TRIED})
    metrics = {value: PanopticQuality(task.labels) for value in thresholds}
    images = dataset.rows.num_images
    for image in np.unique(np.linspace(0, images - 1, min(SAMPLE, images)).astype(int)).tolist():
        for value, found in zip(thresholds, predict_at(task, dataset, image, thresholds), strict=True):
            assert isinstance(found, PanopticPrediction)
            metrics[value].add(prediction=panoptic_row(found), reference=truth.panoptic(found.image_id))
    pq = {value: metric.compute()["All"]["pq"] or 0.0 for value, metric in metrics.items()}
    best = max(thresholds, key=lambda value: pq[value])
    if not pq[best]:
        return None
    return best if pq[best] - pq[measured_at] >= LEAST_GAIN else measured_at


def keep_threshold(model: Path, score_threshold: float | None) -> None:
    """Write it into a model's folder and say so; a failure is a warning: without it the usual one counts."""
    if score_threshold is None:
        return
    try:
        record_threshold(model, score_threshold)
        print(f"score threshold: {score_threshold:g}, the best on the validation split; saved with the model")
    except UserError as error:
        print(f"warning: the score threshold {score_threshold:g} could not be kept: {error}", flush=True)
