"""Padding: where it goes, what the mask says, and that boxes know nothing of it."""

from __future__ import annotations

import torch

from detr_hf.geometry import boxes_cxcywh_to_xyxy, denormalize_boxes
from detr_hf.loading.collate import Target, collate


def _sample(height: int, width: int, box: list[float]) -> tuple[torch.Tensor, Target]:
    target: Target = {
        "image_id": height,
        "size_hw": (height, width),
        "original_size_hw": (2 * height, 2 * width),
        "class_labels": torch.tensor([3]),
        "boxes_cxcywh_norm": torch.tensor([box]),
    }
    return torch.full((3, height, width), 1.5), target


def test_padding_is_right_and_below_and_masked() -> None:
    """guards: batches without a pixel mask, as the official example makes them."""
    batch = collate([_sample(2, 5, [0.5, 0.5, 1, 1]), _sample(4, 3, [0.5, 0.5, 1, 1])])
    assert batch.pixel_values.shape == (2, 3, 4, 5) and len(batch) == 2
    assert batch.pixel_mask.dtype == torch.int64
    assert batch.pixel_mask[0].tolist() == [[1] * 5, [1] * 5, [0] * 5, [0] * 5]
    assert batch.pixel_mask[1].tolist() == [[1, 1, 1, 0, 0]] * 4
    assert torch.equal(batch.pixel_values, 1.5 * batch.pixel_mask[:, None].expand(-1, 3, -1, -1))


def test_boxes_stay_relative_to_the_unpadded_picture() -> None:
    """guards: boxes normalized by the padded canvas (a full-picture box would shrink with its neighbors),
    and the canvas given as the size of the picture.
    """
    alone = collate([_sample(2, 5, [0.5, 0.5, 1, 1])]).targets[0]
    beside = collate([_sample(2, 5, [0.5, 0.5, 1, 1]), _sample(9, 9, [0.5, 0.5, 1, 1])]).targets[0]
    assert torch.equal(alone["boxes_cxcywh_norm"], beside["boxes_cxcywh_norm"])
    assert beside["size_hw"] == (2, 5)
    boxes_xyxy_px = denormalize_boxes(boxes_cxcywh_to_xyxy(beside["boxes_cxcywh_norm"]), beside["size_hw"])
    assert boxes_xyxy_px.tolist() == [[0, 0, 5, 2]]


def test_moving_a_batch_moves_every_tensor() -> None:
    moved = collate([_sample(2, 5, [0.5, 0.5, 1, 1])]).to("meta")
    assert moved.pixel_values.is_meta and moved.pixel_mask.is_meta
    assert moved.targets[0]["class_labels"].is_meta and moved.targets[0]["image_id"] == 2
