"""DETR's stage 2: the mask head of ``DetrForSegmentation``, for chosen queries only.

It belongs to ``families/detr.py``, whose ``mask_logits`` it is.

The stock forward pass repeats the raw backbone maps for every query and only then narrows them with the
adapters, and it computes masks for all queries although only matched (training) or confident (inference) ones
are used. GroupNorm works sample by sample, so the values are the same when the adapters, and the part of the
first convolution that reads the image features, run once an image and only the wanted queries are expanded.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import DetrForSegmentation
from transformers.models.detr.modeling_detr import DetrFPNFusionStage, DetrMHAttentionMap

from detr_hf.modeling.families.base import DetectorOutput, PanopticFeatures


def mask_logits(
    model: DetrForSegmentation, detected: DetectorOutput, image: Tensor, query: Tensor, chunk: int | None
) -> Tensor:
    """Mask logits ``[M, h, w]`` for M (image, query) pairs, at the resolution of the finest backbone map.

    Args:
        model: the stock model, whose ``bbox_attention`` and ``mask_head`` are used.
        detected: what the detector found in the batch.
        image: ``int64 [M]`` index of the image in the batch.
        query: ``int64 [M]`` index of the query.
        chunk: at most this many queries pass through the head at once. When gradients are wanted and there is
            more than one chunk, activations are recomputed in the backward pass, so that ``chunk`` bounds the
            peak memory. None passes all at once, without a loop that depends on their number.
    """
    features = detected.panoptic
    assert features is not None, "a mask head without the features of its detector"
    shared = _SharedMaps.of(model, features)
    if chunk is None:
        return _head(model, shared, features.queries[image, query], image)
    recompute = torch.is_grad_enabled() and len(image) > chunk
    masks = []
    for some in torch.arange(len(image), device=image.device).split(chunk):
        arguments = (model, shared, features.queries[image[some], query[some]], image[some])
        masks.append(checkpoint(_head, *arguments, use_reentrant=False) if recompute else _head(*arguments))
    return torch.cat(masks)


class _SharedMaps:
    """What the head needs of each image, whatever the query."""

    def __init__(self, keys: Tensor, key_mask: Tensor, first: Tensor, adapted: list[Tensor]):
        self.keys, self.key_mask, self.first, self.adapted = keys, key_mask, first, adapted

    @classmethod
    def of(cls, model: DetrForSegmentation, features: PanopticFeatures) -> _SharedMaps:
        head, attention = model.mask_head, model.bbox_attention
        weight = attention.k_proj.weight[:, :, None, None]  # linear of every pixel: a 1 x 1 convolution
        keys = functional.conv2d(features.memory, weight, attention.k_proj.bias)
        width = features.projected.shape[1]
        convolution = head.conv1.conv
        # it reads [image features, attention maps]; convolution is linear, so the image's part runs once an
        # image, and what the attention of each query adds comes in `_head`
        first = functional.conv2d(
            features.projected, convolution.weight[:, :width], convolution.bias, padding=convolution.padding
        )
        finer = features.feature_maps[2::-1]  # the three finest, coarsest first, as the stock head takes them
        stages = _fusion_stages(model)
        adapted = [stage.fpn_adapter(feature_map) for stage, feature_map in zip(stages, finer, strict=True)]
        return cls(keys, features.memory_mask, first, adapted)


def _head(model: DetrForSegmentation, shared: _SharedMaps, queries: Tensor, image: Tensor) -> Tensor:
    """Mask logits ``[m, h, w]`` of the queries ``[m, d]`` that belong to images ``[m]``.

    Maps are expanded by ``index_select``: on a CPU the gradient of ``map[image]`` is added up in any order,
    in twice the time.
    """
    head = model.mask_head
    keys, key_mask = shared.keys.index_select(0, image), shared.key_mask[image]
    attention = _attention_maps(model.bbox_attention, queries, keys, key_mask)
    convolution = head.conv1.conv
    from_attention = functional.conv2d(
        attention, convolution.weight[:, -attention.shape[1] :], padding=convolution.padding
    )
    hidden = head.conv1.activation(head.conv1.norm(shared.first.index_select(0, image) + from_attention))
    hidden = head.conv2(hidden)
    for stage, adapted in zip(_fusion_stages(model), shared.adapted, strict=True):
        upsampled = functional.interpolate(hidden, size=adapted.shape[-2:], mode="nearest")
        hidden = stage.refine(adapted.index_select(0, image) + upsampled)
    return head.output_conv(hidden)[:, 0]


def _fusion_stages(model: DetrForSegmentation) -> list[DetrFPNFusionStage]:
    return cast("list[DetrFPNFusionStage]", list(model.mask_head.fpn_stages))


def _attention_maps(attention: DetrMHAttentionMap, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
    """Attention ``[m, heads, h, w]`` of each query over its image, all heads under one softmax as in DETR."""
    query = attention.q_proj(queries).unflatten(-1, (-1, attention.head_dim)) * attention.scaling
    keys = keys.unflatten(1, (-1, attention.head_dim))
    weights = torch.einsum("mnc,mnchw->mnhw", query, keys)
    weights = weights.masked_fill(~key_mask[:, None], torch.finfo(weights.dtype).min)
    return weights.flatten(1).softmax(-1).view_as(weights)
