"""DETR (Carion et al. 2020) as transformers has it: everything that the package assumes about its classes.

The stock ``auxiliary_loss`` flag does not only add losses: it feeds every decoder layer the layer-normed
output of the one before, which the released weights were not trained for. Here the flag stays off, the raw
output of every layer is recorded, and the shared final norm is applied aside, as in the reference
implementation (facebookresearch/detr).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation, DetrModel
from transformers.models.detr.modeling_detr import DetrCrossAttention
from transformers.utils import logging as transformers_logging

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import refuse_vanishing_activations
from detr_hf.modeling.criterion import BOX_TERMS, LossTerm
from detr_hf.modeling.families.base import DetectorOutput, PanopticFeatures
from detr_hf.modeling.mask_head import mask_logits


class Detr:
    """DETR's answers to ``Family``."""

    model_type = "detr"
    detector_class = DetrForObjectDetection
    segmenter_class = DetrForSegmentation
    box_terms: tuple[LossTerm, ...] = BOX_TERMS
    mask_logits = staticmethod(mask_logits)

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """Equal to the stock model's forward pass, plus the outputs of the inner decoder layers."""
        model = detector.model
        maps = model.backbone(pixel_values, pixel_mask)
        coarsest, memory_mask = maps[-1]
        projected = model.input_projection(coarsest)  # [B, d, h, w]
        positions = model.position_embedding(
            shape=coarsest.shape, device=coarsest.device, dtype=pixel_values.dtype, mask=memory_mask
        )
        positions, flat_mask = positions.flatten(2).transpose(1, 2), memory_mask.flatten(1)
        memory = model.encoder(
            inputs_embeds=projected.flatten(2).transpose(1, 2),  # [B, h w, d]
            attention_mask=flat_mask,
            spatial_position_embeddings=positions,
        ).last_hidden_state
        with _record_layers(model.decoder) as layers:
            _decode(model, memory, flat_mask, positions)
        hidden = [model.decoder.layernorm(layer) for layer in (layers if all_layers else layers[-1:])]
        logits, boxes = _heads_without_autocast(detector, torch.stack(hidden))
        features = PanopticFeatures(
            queries=hidden[-1],
            feature_maps=[feature_map for feature_map, _ in maps],
            projected=projected,
            memory=memory.transpose(1, 2).unflatten(2, projected.shape[-2:]),
            memory_mask=memory_mask,
        )
        return DetectorOutput(logits, boxes, features)

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over all classes and "no object", which is the last logit."""
        return logits.float().softmax(-1)[..., :-1]

    def is_object(self, logits: Tensor) -> Tensor:
        """Asked of the logits: they are the same in every runtime to more digits than probabilities are."""
        return logits[..., :-1].amax(-1) >= logits[..., -1]

    def num_queries(self, config: DetrConfig) -> int:
        """One set of queries, all of them matched."""
        return config.num_queries

    def detector_of(self, model: Any) -> Any:
        """A segmenter keeps its detector under a name of its own."""
        return model.detr if isinstance(model, DetrForSegmentation) else model

    def backbone(self, detector: Any) -> Any:
        """The stock ``DetrConvEncoder``."""
        return detector.model.backbone

    def compilable(self, detector: Any) -> list[nn.Module]:
        """Not the decoder: it is a hundred queries long, and hooks record its layers."""
        return [detector.model.backbone, *detector.model.encoder.layers]

    def group_of(self, parameter_name: str) -> str:
        """By the stock names, with and without the prefix of a segmenter."""
        if ".backbone." in parameter_name:
            return "backbone"
        return "class_head" if "class_labels_classifier" in parameter_name else "other"

    def check_config(self, config: DetrConfig, source: str) -> None:
        """``auxiliary_loss`` off; no backbone that transformers would rob of its activations."""
        if config.auxiliary_loss:
            transformers_logging.get_logger("detr_hf").warning(
                f"{source}: config.auxiliary_loss is on, which changes the forward pass; it is switched off. "
                "Auxiliary losses are taken all the same (loss.auxiliary)."
            )
            config.auxiliary_loss = False
        refuse_vanishing_activations(config.backbone_config, source)

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """A new linear layer as stock initializes it, one logit more than classes."""
        config = detector.config
        head = nn.Linear(config.d_model, labels.num_classes + 1)  # the last one is "no object"
        nn.init.normal_(head.weight, std=config.init_std)
        nn.init.zeros_(head.bias)
        detector.class_labels_classifier = head
        config.id2label, config.label2id = labels.id2label, labels.label2id
        return [f"class_labels_classifier.{name}" for name in ("weight", "bias")]

    def segmenter_of(self, detector: Any, source: str) -> DetrForSegmentation:
        """Built, then filled: stock ``from_pretrained`` of a detector as a segmenter loads nothing."""
        if len(detector.model.backbone.intermediate_channel_sizes) < 4:
            raise UserError(f"{source}: the mask head needs four feature maps, its backbone gives fewer.")
        segmenter = DetrForSegmentation(detector.config)
        segmenter.detr.load_state_dict(detector.state_dict(), strict=True)
        return segmenter

    def mask_parts(self, segmenter: Any) -> dict[str, nn.Module]:
        """The head itself, and the attention that gives it a map for every query."""
        return {"mask_head": segmenter.mask_head, "bbox_attention": segmenter.bbox_attention}

    @contextmanager
    def record_attention(self, detector: Any) -> Iterator[list[Tensor]]:
        """Worked out aside from what goes into the layer, because only the eager kind of attention gives its
        weights away; the model runs with whichever kind it has, and is left as it was."""
        recorded: list[Tensor] = []

        def record(module: nn.Module, inputs: tuple, given: dict[str, Any]) -> None:
            assert isinstance(module, DetrCrossAttention) and not inputs, "the layer is called with keywords"
            recorded.append(_attention_weights(module, given))

        attention: Any = detector.model.decoder.layers[-1].encoder_attn
        handle = attention.register_forward_pre_hook(record, with_kwargs=True)
        try:
            yield recorded
        finally:
            handle.remove()


FAMILY = DETR = Detr()


def _decode(model: DetrModel, memory: Tensor, memory_mask: Tensor, positions: Tensor) -> None:
    query_positions = model.query_position_embeddings.weight.expand(memory.shape[0], -1, -1)  # [B, Q, d]
    model.decoder(
        inputs_embeds=torch.zeros_like(query_positions),
        attention_mask=None,
        spatial_position_embeddings=positions,
        object_queries_position_embeddings=query_positions,
        encoder_hidden_states=memory,
        encoder_attention_mask=memory_mask,
    )


@contextmanager
def _record_layers(decoder: Any) -> Iterator[list[Tensor]]:
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


def _heads_without_autocast(detector: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """In the precision of the weights: near 0.7 a bfloat16 step is 5 pixels of a 1333-pixel image."""
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(detector.class_labels_classifier.weight.dtype)  # [L, B, Q, d]
        return detector.class_labels_classifier(hidden), detector.bbox_predictor(hidden).sigmoid()


def _attention_weights(attention: DetrCrossAttention, given: dict[str, Any]) -> Tensor:
    """Softmax of the scaled products of queries and keys, in float32, ``[B, heads, Q, h w]``."""
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
