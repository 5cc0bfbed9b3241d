"""Results as images: boxes, panoptic overlays, what queries saw, and contact sheets."""

from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.explanation import draw_explanation
from detr_hf.visualize.panoptic import draw_panoptic, draw_prediction
from detr_hf.visualize.sheets import contact_sheet

__all__ = [
    "UnscoredBoxes",
    "contact_sheet",
    "draw_detections",
    "draw_explanation",
    "draw_panoptic",
    "draw_prediction",
]
