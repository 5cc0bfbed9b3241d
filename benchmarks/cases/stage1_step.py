"""Stage 1: forward and backward pass of the detector with its losses.

Both sides supervise the last decoder layer alone, for with stock auxiliary losses another network is
computed; ours with all layers is a variant. No parameter is frozen on either side.
"""

from __future__ import annotations

from torch import Tensor

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, detector_of, gradients_of, images_of, targets_of
from benchmarks.settings import Settings
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.task import DetectionTask

TERMS = ("loss", "loss_ce", "loss_bbox", "loss_giou")


def ours(settings: Settings) -> Side:
    """The package's task and criterion."""
    model = detector_of(settings)
    pixel_values, pixel_mask = images_of(settings, settings.images)
    targets = targets_of(settings)
    losses: dict[str, Tensor] = {}

    def step(auxiliary: bool) -> None:
        model.zero_grad()
        task = DetectionTask(model, LABELS, LossSettings(auxiliary=auxiliary))
        losses.update(task(pixel_values, pixel_mask, targets, task.normalizers(targets)))
        losses["loss"].backward()

    def outcome() -> dict[str, Tensor]:
        return {**{name: losses[name] for name in TERMS}, **gradients_of(model)}

    return Side(lambda: step(False), outcome, {"with auxiliary losses": lambda: step(True)})


def stock(settings: Settings) -> Side:
    """The stock model's forward pass with labels."""
    model = detector_of(settings)
    pixel_values, pixel_mask = images_of(settings, settings.images)
    labels = [
        {"class_labels": target["class_labels"], "boxes": target["boxes_cxcywh_norm"]}
        for target in targets_of(settings)
    ]
    losses: dict[str, Tensor] = {}

    def step() -> None:
        model.zero_grad()
        output = model(pixel_values=pixel_values, pixel_mask=pixel_mask, labels=labels)
        output.loss.backward()
        losses.update(loss=output.loss, **output.loss_dict)

    def outcome() -> dict[str, Tensor]:
        return {**{name: losses[name] for name in TERMS}, **gradients_of(model)}

    return Side(step, outcome, {})
