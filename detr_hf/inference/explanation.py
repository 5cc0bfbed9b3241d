"""Why a model finds what it finds: the mask and the decoder attention of every kept query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalize_boxes
from detr_hf.loading.collate import Batch
from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.postprocess import QueryScores, resize_masks
from detr_hf.modeling.predictions import Explanation, QueryView
from detr_hf.modeling.task import DetectionTask, Task


@torch.no_grad()
def explain(task: Task, image: NDArray[np.uint8], batch: Batch, score_threshold: float) -> Explanation:
    """What every query surer than ``score_threshold`` saw.

    Every query brings two maps of the size of the image, 8 bytes a pixel: scale a large one down first.

    Args:
        task: stage 1 or 2, in PyTorch.
        image: ``uint8 [H, W, 3]``.
        batch: the same image as the model takes it.
        score_threshold: 0 to 1.
    """
    with task.family.record_attention(task.detector) as attention:
        detected = task.family.run(task.detector, batch.pixel_values, batch.pixel_mask, all_layers=False)
    queries = QueryScores.of(task.family, detected.logits[-1])
    order = queries.scores[0].argsort(descending=True, stable=True)
    scores, labels = queries.scores[0], queries.labels[0]
    kept = order[queries.kept(score_threshold, task.is_panoptic)[0, order]].tolist()
    size_hw = (image.shape[0], image.shape[1])
    boxes = boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1, 0, kept])
    boxes_px = clip_boxes_xyxy(denormalize_boxes(boxes, size_hw), size_hw).float().cpu().numpy()
    assert detected.panoptic is not None, "no map of the encoder to look at"
    memory_hw = detected.panoptic.memory.shape[-2:]
    looks = _attention_maps(attention[-1][0, :, kept].mean(0), memory_hw, size_hw)
    masks = _masks(task, detected, kept, batch, size_hw)
    views = [
        QueryView(query, int(labels[query]), float(scores[query]), boxes_px[at], mask, looks[at])
        for at, (query, mask) in enumerate(zip(kept, masks, strict=True))
    ]
    prediction = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]
    return Explanation(image, prediction, views)


def _attention_maps(
    weights: Tensor, memory_hw: Sequence[int], size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Weights ``[K, h w]`` as maps ``[K, H, W]`` over the image, the largest value of each being 1."""
    maps = resize_masks(weights.unflatten(-1, memory_hw), size_hw, size_hw, size_hw)
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def _masks(
    task: Task,
    detected: DetectorOutput,
    kept: list[int],
    batch: Batch,
    size_hw: tuple[int, int],
) -> list[NDArray[np.float32]] | list[None]:
    """Mask probabilities ``[H, W]`` of each kept query; None for a detector."""
    if isinstance(task, DetectionTask):
        return [None] * len(kept)
    query = torch.tensor(kept, dtype=torch.int64, device=batch.pixel_values.device)
    logits = task.family.mask_logits(task.model, detected, torch.zeros_like(query), query, task.mask_chunk)
    model_hw = batch.targets[0]["size_hw"]
    return list(resize_masks(logits, model_hw, model_hw, size_hw).sigmoid().cpu().numpy())
