"""Numbers for a run: box AP and panoptic quality as ``evaluate`` metrics, and the tables that show them."""

from __future__ import annotations

from detr_hf.metrics.coco_ap import CocoAP
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.tables import detection_table, panoptic_table, per_class_table

__all__ = ["CocoAP", "PanopticQuality", "detection_table", "panoptic_table", "per_class_table"]
