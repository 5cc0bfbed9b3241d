"""Faults of stock transformers that numbers in docs/differences.md tell of.

A test that fails here says that transformers has changed: the page can then drop a point, and the code
perhaps a detour. Further faults are tested beside the code that goes another way.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import DetrConfig
from transformers.loss import loss_for_object_detection as stock_loss

from detr_hf.modeling.families.base import Family
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.families.registry import FAMILIES
from detr_hf.modeling.mask_head import mask_logits
from tests.family_models import VARIANTS, family_detector
from tests.tiny_models import (
    random_batch,
    relative_difference,
    stock_labels,
    tiny_detector,
    tiny_segmenter,
)


def prepared_boxes(processor: Any, *sizes_hw: tuple[int, int]) -> list[list[list[float]]]:
    """The stock targets of images that hold one object of their own size each, batched together."""
    images = [np.zeros((*size, 3), np.uint8) for size in sizes_hw]
    annotations = [
        {
            "image_id": at,
            "annotations": [{"bbox": [0, 0, w, h], "category_id": 0, "area": h * w, "iscrowd": 0}],
        }
        for at, (h, w) in enumerate(sizes_hw)
    ]
    out = processor(images=images, annotations=annotations, return_tensors="pt")
    return [label["boxes"].tolist() for label in out["labels"]]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_processor_scales_boxes_to_the_padded_canvas(family: Family) -> None:
    processor = family.processor_class(do_resize=False)
    assert prepared_boxes(processor, (100, 200)) == [[[0.5, 0.5, 1.0, 1.0]]]
    beside_a_tall_one = prepared_boxes(processor, (100, 200), (200, 100))
    assert beside_a_tall_one == [[[0.5, 0.25, 1.0, 0.5]], [[0.25, 0.5, 0.5, 1.0]]]


def test_a_frozen_detector_in_train_mode_gives_other_answers_each_time() -> None:
    segmenter = tiny_segmenter().train()
    pixel_values, pixel_mask, _ = random_batch([1, 1], (64, 96))
    with torch.no_grad():
        first, second = (
            segmenter.detr(pixel_values=pixel_values, pixel_mask=pixel_mask).logits for _ in "ab"
        )
    assert relative_difference(second, first) > 0.2


def test_a_class_too_many_is_trained_as_no_object() -> None:
    detector = tiny_detector()
    pixel_values, pixel_mask, targets = random_batch([2], (64, 96))
    labels = stock_labels(targets)
    labels[0]["class_labels"] = torch.full((2,), detector.config.num_labels)
    assert detector(pixel_values=pixel_values, pixel_mask=pixel_mask, labels=labels).loss.isfinite()


@pytest.mark.parametrize("model", ["detr", *VARIANTS])
def test_box_losses_grow_with_the_number_of_processes(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with equal batches, in simulation: `reduce` gives the mean, and that is halved again.

    So do focal losses, which are divided by the objects, too.
    """
    assert inspect.signature(stock_loss.reduce).parameters["reduction"].default == "mean"
    detector = tiny_detector() if model == "detr" else family_detector(model)
    pixel_values, pixel_mask, targets = random_batch([3, 3], (64, 96))

    def terms() -> dict[str, Tensor]:
        return detector(
            pixel_values=pixel_values, pixel_mask=pixel_mask, labels=stock_labels(targets)
        ).loss_dict

    monkeypatch.setattr(stock_loss, "reduce", lambda mean_of_equals: mean_of_equals)
    monkeypatch.setattr(stock_loss.PartialState, "_shared_state", {})
    alone = terms()
    two_processes = type("TwoProcesses", (), {"_shared_state": {"there": True}, "num_processes": 2})
    monkeypatch.setattr(stock_loss, "PartialState", two_processes)
    together = terms()
    for name, factor in (("loss_ce", 1 if model == "detr" else 2), ("loss_bbox", 2), ("loss_giou", 2)):
        assert together[name].item() == pytest.approx(factor * alone[name].item(), rel=1e-5)


@pytest.mark.parametrize("name", ["bbox_loss_coefficient", "mask_loss_coefficient", "class_cost"])
def test_weights_and_costs_of_a_config_are_whole_numbers(name: str) -> None:
    with pytest.raises(StrictDataclassError, match=name):
        DetrConfig(**{name: 1.5})


def bytes_kept_for_the_backward_pass(masks_of_wanted) -> int:  # type: ignore[no-untyped-def]
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        masks_of_wanted()
    return kept


def test_masks_of_wanted_queries_alone_keep_a_sixth_of_the_memory() -> None:
    """Four images with six objects each, of 100 queries; detector included."""
    model = tiny_segmenter(num_queries=100)
    pixel_values, pixel_mask, _ = random_batch([6] * 4, (160, 192))
    image, query = torch.arange(4).repeat_interleave(6), torch.arange(6).repeat(4)

    def stock() -> Tensor:
        return model(pixel_values=pixel_values, pixel_mask=pixel_mask).pred_masks[image, query]

    def ours() -> Tensor:
        detected = DETR.run(model.detr, pixel_values, pixel_mask, all_layers=False)
        return mask_logits(model, detected, image, query, chunk=24)

    assert bytes_kept_for_the_backward_pass(stock) > 6 * bytes_kept_for_the_backward_pass(ours)
