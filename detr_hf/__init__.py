"""Fine-tune DETR for object detection and panoptic segmentation on your own photographs."""

__version__ = "0.1.0"
