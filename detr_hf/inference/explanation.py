"""Why a model finds what it finds: the mask and the decoder attention of every kept query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DetrForObjectDetection
from transformers.models.detr.modeling_detr import DetrCrossAttention

from detr_hf.geometry import boxes_cxcywh_to_xyxy, clip_boxes_xyxy, denormalize_boxes
from detr_hf.loading.collate import Batch
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.detector import DetectorOutput, run_detector
from detr_hf.modeling.mask_head import mask_logits
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.postprocess import resize_masks
from detr_hf.modeling.predictions import Explanation, QueryView


@torch.no_grad()
def explain(
    task: DetectionTask | PanopticTask, image: NDArray[np.uint8], batch: Batch, score_threshold: float
) -> Explanation:
    """What every query surer than ``score_threshold`` saw.

    Every query brings two maps of the size of the image, 8 bytes a pixel: scale a large one down first.

    Args:
        task: stage 1 or 2, in PyTorch.
        image: ``uint8 [H, W, 3]``.
        batch: the same image as the model takes it.
        score_threshold: 0 to 1.
    """
    detector = task.model.detr if isinstance(task, PanopticTask) else task.model
    with cross_attention(detector) as attention:
        detected = run_detector(detector, batch.pixel_values, batch.pixel_mask, all_layers=False)
    scores, labels, kept = _kept_queries(detected.logits[-1, 0], score_threshold, task.is_panoptic)
    size_hw = (image.shape[0], image.shape[1])
    boxes = boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1, 0, kept])
    boxes_px = clip_boxes_xyxy(denormalize_boxes(boxes, size_hw), size_hw).float().cpu().numpy()
    looks = _attention_maps(attention[-1][0, :, kept].mean(0), detected, size_hw)
    masks = _masks(task, detected, kept, batch, size_hw)
    views = [
        QueryView(query, int(labels[query]), float(scores[query]), boxes_px[at], mask, looks[at])
        for at, (query, mask) in enumerate(zip(kept, masks, strict=True))
    ]
    prediction = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]
    return Explanation(image, prediction, views)


def _kept_queries(
    logits: Tensor, score_threshold: float, is_panoptic: bool
) -> tuple[Tensor, Tensor, list[int]]:
    """Scores and classes of all queries, and which are kept, the surest first.

    As in prediction: a mask is painted only where "no object" is not the likeliest of all.
    """
    probabilities = logits.softmax(-1)
    scores, labels = probabilities[:, :-1].max(-1)
    sure = scores > score_threshold
    if is_panoptic:
        sure &= scores > probabilities[:, -1]
    order = scores.argsort(descending=True, stable=True)
    return scores, labels, order[sure[order]].tolist()


@contextmanager
def cross_attention(detector: DetrForObjectDetection) -> Iterator[list[Tensor]]:
    """Collect the weights ``[B, heads, Q, h w]`` of the last decoder layer's cross attention.

    They are worked out aside from what goes into the layer, because only the eager kind of attention gives
    its weights away; the model runs with whichever kind it has, and is left as it was.
    """
    recorded: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple, given: dict[str, Any]) -> None:
        assert isinstance(module, DetrCrossAttention) and not inputs, "the layer is called with keywords"
        recorded.append(_weights(module, given))

    layer: Any = detector.model.decoder.layers[-1]
    handle = layer.encoder_attn.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield recorded
    finally:
        handle.remove()


def _weights(attention: DetrCrossAttention, given: dict[str, Any]) -> Tensor:
    """Softmax of the scaled products of queries and keys, in float32."""
    queries = attention.q_proj(given["hidden_states"] + given["position_embeddings"])
    keys = attention.k_proj(given["key_value_states"] + given["encoder_position_embeddings"])
    queries, keys = (
        projected.float().unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for projected in (queries, keys)
    )
    products = queries @ keys.transpose(2, 3) * attention.scaling
    mask = given["attention_mask"]
    if mask is not None:  # bool: True where to look; else what to add
        products = products.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else products + mask
    return products.softmax(-1)


def _attention_maps(
    weights: Tensor, detected: DetectorOutput, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Weights ``[K, h w]`` as maps ``[K, H, W]`` over the image, the largest value of each being 1."""
    maps = resize_masks(weights.unflatten(-1, detected.memory.shape[-2:]), size_hw, size_hw, size_hw)
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def _masks(
    task: DetectionTask | PanopticTask,
    detected: DetectorOutput,
    kept: list[int],
    batch: Batch,
    size_hw: tuple[int, int],
) -> list[NDArray[np.float32]] | list[None]:
    """Mask probabilities ``[H, W]`` of each kept query; None for a detector."""
    if isinstance(task, DetectionTask):
        return [None] * len(kept)
    query = torch.tensor(kept, dtype=torch.int64, device=batch.pixel_values.device)
    logits = mask_logits(task.model, detected, torch.zeros_like(query), query, task.mask_chunk)
    model_hw = batch.targets[0]["size_hw"]
    return list(resize_masks(logits, model_hw, model_hw, size_hw).sigmoid().cpu().numpy())
