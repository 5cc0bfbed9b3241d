"""The two tasks under one name: what the training loop, the report and the evaluation work with."""

from __future__ import annotations

from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.panoptic import PanopticTask

Task = DetectionTask | PanopticTask
