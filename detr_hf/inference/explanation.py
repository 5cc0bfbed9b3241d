"""Why a model finds what it finds: the mask and where the decoder looked, of every kept query."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalize_boxes
from detr_hf.loading.collate import Batch
from detr_hf.modeling.attention import AttentionMaps, Look
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
    with task.family.record_looks(task.detector) as looks:
        detected = task.family.run(task.detector, batch.pixel_values, batch.pixel_mask, all_layers=False)
    queries = QueryScores.of(task.family, detected.logits[-1])
    order = queries.scores[0].argsort(descending=True, stable=True)
    scores, labels = queries.scores[0], queries.labels[0]
    kept = order[queries.kept(score_threshold, task.is_panoptic)[0, order]].tolist()
    size_hw = (image.shape[0], image.shape[1])
    boxes = boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1, 0, kept])
    boxes_px = clip_boxes_xyxy(denormalize_boxes(boxes, size_hw), size_hw).float().cpu().numpy()
    masks = _masks(task, detected, kept, batch, size_hw)
    views = [
        QueryView(query, int(labels[query]), float(scores[query]), boxes_px[at], mask, **look)
        for at, (query, mask, look) in enumerate(
            zip(kept, masks, _looks(looks[-1], kept, size_hw), strict=True)
        )
    ]
    prediction = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]
    return Explanation(image, prediction, views)


def _looks(look: Look, kept: list[int], size_hw: tuple[int, int]) -> list[dict[str, NDArray[np.float32]]]:
    """Where each kept query looked in an image that fills its batch, as ``QueryView`` has it."""
    if isinstance(look, AttentionMaps):
        maps = resize_masks(look.weights[0, :, kept].mean(0), size_hw, size_hw, size_hw)
        scaled = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
        return [{"attention": one} for one in scaled.cpu().numpy()]
    weights = look.weights[0, kept]  # [K, P]
    weights = weights / weights.amax(1, keepdim=True).clamp(min=1e-12)
    xy = look.xy_norm[0, kept] * look.xy_norm.new_tensor([size_hw[1], size_hw[0]])
    return [{"points_xyw": one} for one in torch.cat([xy, weights[..., None]], -1).cpu().numpy()]


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
    logits = task.mask_head.logits(task.model, detected, torch.zeros_like(query), query, task.mask_chunk)
    model_hw = batch.targets[0]["size_hw"]
    return list(resize_masks(logits, model_hw, model_hw, size_hw).sigmoid().cpu().numpy())
