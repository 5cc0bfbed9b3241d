"""Stage 2: forward and backward pass of the mask head, the detector frozen in eval mode on both sides."""

from __future__ import annotations

from torch import Tensor

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, gradients_of, images_of, segmenter_of, targets_of
from benchmarks.settings import Settings
from detr_hf.geometry import masks_of_segments
from detr_hf.modeling.task import PanopticTask

TERMS = ("loss_mask", "loss_dice")


def ours(settings: Settings) -> Side:
    """The package's task: matched queries only, id maps as truth."""
    model = segmenter_of(settings)
    task = PanopticTask(model, LABELS, mask_chunk=settings.mask_chunk)
    pixel_values, pixel_mask = images_of(settings, settings.images)
    targets = targets_of(settings)
    losses: dict[str, Tensor] = {}

    def step() -> None:
        model.zero_grad()
        losses.update(task(pixel_values, pixel_mask, targets, task.normalizers(targets)))
        losses["loss"].backward()

    def outcome() -> dict[str, Tensor]:
        return {**{name: losses[name] for name in TERMS}, **gradients_of(model)}

    return Side(step, outcome, {})


def stock(settings: Settings) -> Side:
    """The stock model with labels: masks of all queries, the truth as a pile of full-size masks."""
    model = segmenter_of(settings)
    pixel_values, pixel_mask = images_of(settings, settings.images)
    labels = [
        {
            "class_labels": target["class_labels"],
            "boxes": target["boxes_cxcywh_norm"],
            "masks": masks_of_segments(target["id_map"], target["segment_ids"]),
        }
        for target in targets_of(settings)
    ]
    losses: dict[str, Tensor] = {}

    def step() -> None:
        model.zero_grad()
        output = model(pixel_values=pixel_values, pixel_mask=pixel_mask, labels=labels)
        output.loss.backward()
        losses.update(output.loss_dict)

    def outcome() -> dict[str, Tensor]:
        return {**{name: losses[name] for name in TERMS}, **gradients_of(model)}

    return Side(step, outcome, {})
