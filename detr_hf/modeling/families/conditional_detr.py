"""Conditional DETR (Meng et al. 2021) as transformers has it.

As in DETR, the stock ``auxiliary_loss`` flag changes the network: it stays off, and every layer is recorded.
Losses and defaults follow the reference implementation (Atten4Vis/ConditionalDETR).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    ConditionalDetrImageProcessor,
)

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.attention import Look, record_attention
from detr_hf.modeling.backbones import refuse_vanishing_activations
from detr_hf.modeling.class_scores import SIGMOID
from detr_hf.modeling.families.base import Defaults, DetectorOutput
from detr_hf.modeling.families.shared import (
    boxes_around,
    group_by_name,
    keep_float32,
    new_sigmoid_head,
    record_layers,
    resize_embedding,
    switch_off_auxiliary_loss,
)
from detr_hf.modeling.loss_terms import SIGMOID_BOX_TERMS, LossSettings
from detr_hf.modeling.matcher import MatchingCosts

QUERIES = "query_position_embeddings"
LOSSES = LossSettings(class_loss_coefficient=2.0, costs=MatchingCosts(class_cost=2.0))


class ConditionalDetr:
    """Conditional DETR's answers to ``Family``."""

    model_type = "conditional_detr"
    name, paper = "Conditional DETR", "https://arxiv.org/abs/2108.06152"
    detector_class = ConditionalDetrForObjectDetection
    processor_class = ConditionalDetrImageProcessor
    mask_head = None
    scores = SIGMOID
    box_terms = SIGMOID_BOX_TERMS
    defaults = Defaults(LOSSES, lr=1e-4, backbone_lr=1e-5)
    has_heads_of_layers = False

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """The stock network, and both heads on the normed output of every layer."""
        decoder = detector.model.decoder
        class_head, box_head = detector.class_labels_classifier, detector.bbox_predictor
        keep_float32(class_head, box_head, decoder.ref_point_head)
        with record_layers(decoder) as layers:
            found = detector.model(pixel_values, pixel_mask=pixel_mask)
        hidden = torch.stack([decoder.layernorm(layer) for layer in (layers if all_layers else layers[-1:])])
        points = found.reference_points.transpose(0, 1)  # [B, Q, 2], the same for every layer
        return DetectorOutput(class_head(hidden), boxes_around(points, box_head(hidden)))

    def num_queries(self, config: ConditionalDetrConfig) -> int:
        """One set of queries, all of them matched."""
        return config.num_queries

    def backbone(self, detector: Any) -> Any:
        """The stock ``ConditionalDetrConvEncoder``."""
        return detector.model.backbone

    def encoder(self, detector: Any) -> nn.Module:
        """Of the coarsest map."""
        return detector.model.encoder

    def compilable(self, detector: Any) -> list[nn.Module]:
        """Not the decoder: hooks record its layers."""
        return [detector.model.backbone, *detector.model.encoder.layers]

    def group_of(self, parameter_name: str) -> str:
        """By the stock names."""
        return group_by_name(parameter_name, "class_labels_classifier")

    def check_config(self, config: ConditionalDetrConfig, source: str) -> None:
        """``auxiliary_loss`` off, a sound backbone, and no segmenter.

        The boxes of the stock ``ConditionalDetrForSegmentation`` leave out the reference points, so that its
        masks were trained with other boxes than the detector's.
        """
        if "ConditionalDetrForSegmentation" in (config.architectures or []):
            raise UserError(
                f"{source}: a ConditionalDetrForSegmentation, whose boxes in transformers leave out the "
                "reference points; take a detector, or DETR for masks."
            )
        switch_off_auxiliary_loss(config, source)
        refuse_vanishing_activations(config.backbone_config, source)

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """One head for all layers."""
        config = detector.config
        detector.class_labels_classifier = new_sigmoid_head(config.d_model, labels, config.init_std)
        return [f"class_labels_classifier.{name}" for name in ("weight", "bias")]

    def class_heads(self, detector: Any) -> list[nn.Linear]:
        """One for all layers."""
        return [detector.class_labels_classifier]

    def query_embedding(self, config: ConditionalDetrConfig) -> str:
        """It is added to what the decoder makes of the query."""
        return QUERIES

    def resize_queries(self, detector: Any, count: int) -> list[str]:
        """The rows of their embedding."""
        return resize_embedding(detector, QUERIES, count)

    def initialize(self, detector: Any) -> None:
        """Boxes start at reference points all over the image, half as large as it."""
        nn.init.normal_(detector.model.query_position_embeddings.weight)
        for layer in detector.model.decoder.ref_point_head.layers:
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(detector.bbox_predictor.layers[-1].weight)
        nn.init.zeros_(detector.bbox_predictor.layers[-1].bias)

    def record_looks(self, detector: Any) -> AbstractContextManager[list[Look]]:
        """Maps over the encoder's output."""
        model = detector.model
        return record_attention(model.backbone, model.decoder.layers[-1].encoder_attn)


FAMILY = CONDITIONAL_DETR = ConditionalDetr()
