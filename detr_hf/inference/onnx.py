"""An exported model as a task: the network in ONNX Runtime, the rest by the same code as in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.foreign_files import read_json
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.model_files import load_config
from detr_hf.modeling.panoptic_merge import MergeSettings
from detr_hf.modeling.postprocess import detections, panoptic_predictions
from detr_hf.modeling.predictions import Prediction

MODEL_FILE = "model.onnx"
FACTS_FILE = "export.json"

INPUTS = ("pixel_values", "pixel_mask", "score_threshold")
DETECTOR_OUTPUTS = ("logits", "pred_boxes")
SEGMENTER_OUTPUTS = (*DETECTOR_OUTPUTS, "pred_masks", "mask_index")

SLACK = 1e-4
"""The graph is asked for the masks of queries down to so much below the threshold: which of them are kept is
then decided in one place, whatever the last bits of a score are."""


def is_export(source: str | Path) -> bool:
    """Whether a folder is what ``detr-hf export`` wrote."""
    return (Path(source) / MODEL_FILE).is_file() and (Path(source) / FACTS_FILE).is_file()


class OnnxTask:
    """What ``DetectionTask`` and ``PanopticTask`` answer at prediction, of an exported folder.

    Args:
        folder: see ``is_export``.
        device: "cpu", "cuda" or "cuda:1"; None takes the GPU where ONNX Runtime has one.

    Attributes:
        labels: the classes.
        family: of its network.
        is_panoptic: whether there are masks.
        patch_side: pixels; see ``modeling.backbones.patch_side``.
        merge: thresholds of the panoptic merge.

    Raises:
        UserError: ONNX Runtime is not installed, cannot use the device, or cannot read the folder.
    """

    def __init__(self, folder: str | Path, device: str | torch.device | None = None):
        folder = Path(folder)
        self.labels = LabelMap.load(folder)
        self.patch_side = _patch_side(folder / FACTS_FILE)
        self.session = open_session(folder / MODEL_FILE, device)
        names = tuple(output.name for output in self.session.get_outputs())
        if names not in (DETECTOR_OUTPUTS, SEGMENTER_OUTPUTS):
            raise UserError(f"{folder / MODEL_FILE} gives {', '.join(names)}; export the model again.")
        self.is_panoptic = names == SEGMENTER_OUTPUTS
        self.family = family_of(load_config(str(folder)))
        self.merge = MergeSettings()

    def predict(
        self, pixel_values: Tensor, pixel_mask: Tensor, targets: Sequence[Mapping]
    ) -> Sequence[Prediction]:
        """As the tasks in PyTorch: boxes, or an id map an image, in original pixels."""
        threshold = self.merge.score_threshold - SLACK if self.is_panoptic else None
        found = run_session(self.session, pixel_values, pixel_mask, threshold)
        logits, boxes = found[:2]
        detected = DetectorOutput(logits[None], boxes[None])
        if not self.is_panoptic:
            return detections(self.family, detected, targets)
        masks, kept = found[2:]

        def masks_of(image: Tensor, query: Tensor) -> Tensor:
            position = torch.full(logits.shape[:2], -1)
            position[kept[:, 0], kept[:, 1]] = torch.arange(len(kept))
            return masks[position[image, query]]

        return panoptic_predictions(
            self.family,
            detected,
            masks_of,
            targets,
            canvas_hw=(pixel_values.shape[-2], pixel_values.shape[-1]),
            stuff_ids=self.labels.stuff_ids,
            merge=self.merge,
        )


def run_session(
    session: Any, pixel_values: Tensor, pixel_mask: Tensor, score_threshold: float | None
) -> list[Tensor]:
    """One pass of an exported graph.

    Args:
        session: see ``open_session``.
        pixel_values: ``float32 [B, 3, H, W]``.
        pixel_mask: ``int64 [B, H, W]``.
        score_threshold: of stage 2; None in stage 1.

    Returns:
        ``DETECTOR_OUTPUTS`` or ``SEGMENTER_OUTPUTS`` on the CPU: logits ``[B, Q, K]``, boxes
        ``[B, Q, 4]``, mask logits ``[M, h, w]``, and image and query of each mask, ``int64 [M, 2]``.
    """
    given = {"pixel_values": pixel_values.float().cpu().numpy(), "pixel_mask": pixel_mask.cpu().numpy()}
    if score_threshold is not None:
        given["score_threshold"] = np.array([score_threshold], np.float32)
    return [torch.from_numpy(output) for output in session.run(None, given)]


def open_session(file: Path, device: str | torch.device | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` with as many threads as PyTorch has.

    Raises:
        UserError: ONNX Runtime is not installed, cannot use the device, or cannot read the file.
    """
    runtime = _runtime()
    providers = _providers(runtime, device)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own kinds have no common base but this
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{file} cannot be opened ({reason}); export the model again.") from error
    if device is not None and len(providers) != len(session.get_providers()):  # it fell back to the CPU
        raise UserError(
            f"ONNX Runtime could not start on {device}; it gives its reason above. "
            "It needs the CUDA and cuDNN libraries that it was built for; or use the device cpu."
        )
    return session


def _runtime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("ONNX Runtime is not installed: pip install 'detr-hf[export]'") from error
    return onnxruntime


def _providers(runtime: ModuleType, device: str | torch.device | None) -> list[Any]:
    """ONNX Runtime's names for a device, and the CPU for what it cannot do."""
    cuda = "CUDAExecutionProvider" in runtime.get_available_providers()
    try:
        chosen = torch.device(device if device is not None else "cuda" if cuda else "cpu")
    except RuntimeError as error:
        raise UserError(f"the device {device} is not known; give cpu, cuda or cuda:1.") from error
    if chosen.type == "cpu":
        return ["CPUExecutionProvider"]
    if chosen.type != "cuda":
        raise UserError(f"an exported model runs on cpu or cuda, not on {chosen}.")
    if not cuda:
        raise UserError(
            "this ONNX Runtime knows no GPU: pip install onnxruntime-gpu in place of onnxruntime, "
            "or use the device cpu."
        )
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # those that came with PyTorch
    return [("CUDAExecutionProvider", {"device_id": chosen.index or 0}), "CPUExecutionProvider"]


def _patch_side(file: Path) -> int | None:
    side = read_json(file).get("patch_side", "missing")
    if side is not None and not (isinstance(side, int) and side > 0):
        raise UserError(f"{file} cannot be read (patch_side is {side!r}); export the model again.")
    return side
