"""Stage 1's network: stock ``DetrForObjectDetection``, run so that every decoder layer can be supervised.

The stock ``auxiliary_loss`` flag does not only add losses: it feeds every decoder layer the layer-normed
output of the one before, which the released weights were not trained for. Here the flag stays off, the raw
output of every layer is recorded, and the shared final norm is applied aside, as in the reference
implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DetrForObjectDetection, DetrModel
from transformers.models.detr.modeling_detr import DetrDecoder


@dataclass
class DetectorOutput:
    """Everything both stages need of one forward pass of the detector.

    Attributes:
        logits: ``float32 [L, B, Q, C + 1]`` for the L supervised decoder layers, the last one last.
        boxes_cxcywh_norm: ``float32 [L, B, Q, 4]``.
        queries: ``[B, Q, d]`` the normed output of the last decoder layer.
        feature_maps: the backbone's maps ``[B, c, h, w]``, finest first.
        projected: ``[B, d, h, w]`` the coarsest map in the transformer's width.
        memory: ``[B, d, h, w]`` the encoder's output.
        memory_mask: ``bool [B, h, w]``, True where the image is real.
    """

    logits: Tensor
    boxes_cxcywh_norm: Tensor
    queries: Tensor
    feature_maps: list[Tensor]
    projected: Tensor
    memory: Tensor
    memory_mask: Tensor


def run_detector(
    detector: DetrForObjectDetection, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
) -> DetectorOutput:
    """One forward pass; equal to the stock model's, plus the outputs of the inner decoder layers.

    Class and box heads run in the precision of their weights, float32, even under autocast: near 0.7 a
    bfloat16 step is 5 pixels of a 1333-pixel image.

    Args:
        detector: the stock model, with ``config.auxiliary_loss`` off.
        pixel_values: ``[B, 3, H, W]`` normalized images.
        pixel_mask: ``[B, H, W]``, 1 where the image is real.
        all_layers: supervise every decoder layer (L = number of layers) or the last one alone (L = 1).
    """
    model = detector.model
    maps = model.backbone(pixel_values, pixel_mask)
    coarsest, memory_mask = maps[-1]
    projected = model.input_projection(coarsest)
    positions = model.position_embedding(
        shape=coarsest.shape, device=coarsest.device, dtype=pixel_values.dtype, mask=memory_mask
    )
    positions, flat_mask = positions.flatten(2).transpose(1, 2), memory_mask.flatten(1)
    memory = model.encoder(
        inputs_embeds=projected.flatten(2).transpose(1, 2),
        attention_mask=flat_mask,
        spatial_position_embeddings=positions,
    ).last_hidden_state
    with _record_layers(model.decoder) as layers:
        _decode(model, memory, flat_mask, positions)
    hidden = [model.decoder.layernorm(layer) for layer in (layers if all_layers else layers[-1:])]
    logits, boxes = _heads_without_autocast(detector, torch.stack(hidden))
    return DetectorOutput(
        logits=logits,
        boxes_cxcywh_norm=boxes,
        queries=hidden[-1],
        feature_maps=[feature_map for feature_map, _ in maps],
        projected=projected,
        memory=memory.transpose(1, 2).unflatten(2, projected.shape[-2:]),
        memory_mask=memory_mask,
    )


def _decode(model: DetrModel, memory: Tensor, memory_mask: Tensor, positions: Tensor) -> None:
    query_positions = model.query_position_embeddings.weight.expand(memory.shape[0], -1, -1)
    model.decoder(
        inputs_embeds=torch.zeros_like(query_positions),
        attention_mask=None,
        spatial_position_embeddings=positions,
        object_queries_position_embeddings=query_positions,
        encoder_hidden_states=memory,
        encoder_attention_mask=memory_mask,
    )


@contextmanager
def _record_layers(decoder: DetrDecoder) -> Iterator[list[Tensor]]:
    """Collect the raw output ``[B, Q, d]`` of every decoder layer while the context is open."""
    recorded: list[Tensor] = []

    def record(module: nn.Module, inputs: object, output: Tensor | tuple) -> None:
        recorded.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(record) for layer in decoder.layers]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _heads_without_autocast(detector: DetrForObjectDetection, hidden: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(detector.class_labels_classifier.weight.dtype)
        return detector.class_labels_classifier(hidden), detector.bbox_predictor(hidden).sigmoid()
