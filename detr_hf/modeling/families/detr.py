"""DETR (Carion et al. 2020) as transformers has it: everything that the package assumes about its classes.

The stock ``auxiliary_loss`` flag does not only add losses: it feeds every decoder layer the layer-normed
output of the one before, which the released weights were not trained for. Here the flag stays off, the raw
output of every layer is recorded, and the shared final norm is applied aside, as in the reference
implementation (facebookresearch/detr).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessor,
    DetrModel,
)

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.attention import Look, record_attention
from detr_hf.modeling.backbones import refuse_vanishing_activations
from detr_hf.modeling.class_scores import SOFTMAX
from detr_hf.modeling.families.base import Defaults, DetectorOutput, PanopticFeatures
from detr_hf.modeling.families.shared import (
    group_by_name,
    keep_float32,
    record_layers,
    resize_embedding,
    switch_off_auxiliary_loss,
)
from detr_hf.modeling.loss_terms import BOX_TERMS, LossSettings
from detr_hf.modeling.mask_head import mask_logits

QUERIES = "query_position_embeddings"


class DetrMaskHead:
    """The answers of ``DetrForSegmentation`` to ``MaskHead``."""

    segmenter_class = DetrForSegmentation
    logits = staticmethod(mask_logits)

    def segmenter_of(self, detector: Any, source: str) -> DetrForSegmentation:
        """Built, then filled: stock ``from_pretrained`` of a detector as a segmenter loads nothing."""
        if len(detector.model.backbone.intermediate_channel_sizes) < 4:
            raise UserError(f"{source}: the mask head needs four feature maps, its backbone gives fewer.")
        segmenter = DetrForSegmentation(detector.config)
        segmenter.detr.load_state_dict(detector.state_dict(), strict=True)
        return segmenter

    def detector_of(self, segmenter: DetrForSegmentation) -> DetrForObjectDetection:
        """The stock attribute."""
        return segmenter.detr

    def parts(self, segmenter: Any) -> dict[str, nn.Module]:
        """The head itself, and the attention that gives it a map for every query."""
        return {"mask_head": segmenter.mask_head, "bbox_attention": segmenter.bbox_attention}


class Detr:
    """DETR's answers to ``Family``."""

    model_type = "detr"
    name, paper = "DETR", "https://arxiv.org/abs/2005.12872"
    detector_class = DetrForObjectDetection
    processor_class = DetrImageProcessor
    mask_head = DetrMaskHead()
    scores = SOFTMAX
    box_terms = BOX_TERMS
    defaults = Defaults(LossSettings(), lr=1e-4, backbone_lr=1e-5)
    has_heads_of_layers = False

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """Equal to the stock model's forward pass, plus the outputs of the inner decoder layers."""
        model, class_head, box_head = (
            detector.model,
            detector.class_labels_classifier,
            detector.bbox_predictor,
        )
        keep_float32(class_head, box_head)
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
        with record_layers(model.decoder) as layers:
            _decode(model, memory, flat_mask, positions)
        hidden = [model.decoder.layernorm(layer) for layer in (layers if all_layers else layers[-1:])]
        stacked = torch.stack(hidden)
        features = PanopticFeatures(
            queries=hidden[-1],
            feature_maps=[feature_map for feature_map, _ in maps],
            projected=projected,
            memory=memory.transpose(1, 2).unflatten(2, projected.shape[-2:]),
            memory_mask=memory_mask,
        )
        return DetectorOutput(class_head(stacked), box_head(stacked).sigmoid(), features)

    def num_queries(self, config: DetrConfig) -> int:
        """One set of queries, all of them matched."""
        return config.num_queries

    def backbone(self, detector: Any) -> Any:
        """The stock ``DetrConvEncoder``."""
        return detector.model.backbone

    def encoder(self, detector: Any) -> nn.Module:
        """Of the coarsest map."""
        return detector.model.encoder

    def compilable(self, detector: Any) -> list[nn.Module]:
        """Not the decoder: it is a hundred queries long, and hooks record its layers."""
        return [detector.model.backbone, *detector.model.encoder.layers]

    def group_of(self, parameter_name: str) -> str:
        """By the stock names, with and without the prefix of a segmenter."""
        return group_by_name(parameter_name, "class_labels_classifier")

    def check_config(self, config: DetrConfig, source: str) -> None:
        """``auxiliary_loss`` off; no backbone that transformers would rob of its activations."""
        switch_off_auxiliary_loss(config, source)
        refuse_vanishing_activations(config.backbone_config, source)

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """A new linear layer as stock initializes it, one logit more than classes."""
        config = detector.config
        head = nn.Linear(config.d_model, labels.num_classes + 1)  # the last one is "no object"
        nn.init.normal_(head.weight, std=config.init_std)
        nn.init.zeros_(head.bias)
        detector.class_labels_classifier = head
        return [f"class_labels_classifier.{name}" for name in ("weight", "bias")]

    def class_heads(self, detector: Any) -> list[nn.Linear]:
        """One for all layers."""
        return [detector.class_labels_classifier]

    def query_embedding(self, config: DetrConfig) -> str:
        """It is added to what the decoder makes of the query."""
        return QUERIES

    def resize_queries(self, detector: Any, count: int) -> list[str]:
        """The rows of their embedding."""
        return resize_embedding(detector, QUERIES, count)

    def initialize(self, detector: Any) -> None:
        """Stock initializes as the reference does, but for the scale of a few weights."""

    def record_looks(self, detector: Any) -> AbstractContextManager[list[Look]]:
        """Maps over the encoder's output."""
        model = detector.model
        return record_attention(model.backbone, model.decoder.layers[-1].encoder_attn)


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
