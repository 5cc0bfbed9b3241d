"""A finished model as a folder for ONNX Runtime, checked against PyTorch before it is there."""

from detr_hf.export.compare import Differences, compare
from detr_hf.export.folder import OPSETS, Exported, export_onnx

__all__ = ["OPSETS", "Differences", "Exported", "compare", "export_onnx"]
