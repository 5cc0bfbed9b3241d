"""The two tasks under one name: what the training loop, the report and the evaluation work with."""

from __future__ import annotations

from typing import Any

from detr_hf.labels import LabelMap
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.families.registry import is_segmenter
from detr_hf.modeling.panoptic import PanopticTask

Task = DetectionTask | PanopticTask


def task_of(model: Any, labels: LabelMap) -> Task:
    """A finished model, of whichever family and stage, as a task that predicts."""
    return PanopticTask(model, labels) if is_segmenter(model) else DetectionTask(model, labels)
