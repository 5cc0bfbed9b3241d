"""DAB-DETR (Liu et al. 2022) as transformers has it: queries are boxes that every layer refines.

Losses and defaults follow the reference implementation (IDEA-Research/DAB-DETR).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import ConditionalDetrImageProcessor, DabDetrConfig, DabDetrForObjectDetection

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.attention import AttentionMaps, Look, record_map_sizes
from detr_hf.modeling.backbones import refuse_vanishing_activations
from detr_hf.modeling.class_scores import SIGMOID
from detr_hf.modeling.families.base import Defaults, DetectorOutput
from detr_hf.modeling.families.shared import (
    boxes_around,
    group_by_name,
    keep_float32,
    new_sigmoid_head,
    resize_embedding,
)
from detr_hf.modeling.loss_terms import SIGMOID_BOX_TERMS, LossSettings
from detr_hf.modeling.matcher import MatchingCosts

BOXES = "query_refpoint_embeddings"
LOSSES = LossSettings(costs=MatchingCosts(class_cost=2.0))


class DabDetr:
    """DAB-DETR's answers to ``Family``."""

    model_type = "dab-detr"
    name, paper = "DAB-DETR", "https://arxiv.org/abs/2201.12329"
    detector_class = DabDetrForObjectDetection
    processor_class = ConditionalDetrImageProcessor  # transformers has no other for it
    mask_head = None
    scores = SIGMOID
    box_terms = SIGMOID_BOX_TERMS
    defaults = Defaults(LOSSES, lr=1e-4, backbone_lr=1e-5)
    has_heads_of_layers = False

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """The stock network, and both heads on every layer, around the boxes that it started from."""
        decoder = detector.model.decoder
        keep_float32(detector.class_embed, detector.bbox_predictor, decoder.bbox_embed)
        keep_float32(decoder.ref_point_head, decoder.ref_anchor_head)
        found = detector.model(pixel_values, pixel_mask=pixel_mask)
        first = 0 if all_layers else len(found.reference_points) - 1
        hidden = found.intermediate_hidden_states[first:]  # [L, B, Q, d], normed
        boxes = boxes_around(found.reference_points[first:], detector.bbox_predictor(hidden))
        return DetectorOutput(detector.class_embed(hidden), boxes)

    def num_queries(self, config: DabDetrConfig) -> int:
        """Every box once for each pattern, where there are patterns."""
        return config.num_queries * max(config.num_patterns, 1)

    def backbone(self, detector: Any) -> Any:
        """The stock ``DabDetrConvEncoder``, without the position embedding."""
        return detector.model.backbone.conv_encoder

    def encoder(self, detector: Any) -> nn.Module:
        """Of the coarsest map."""
        return detector.model.encoder

    def compilable(self, detector: Any) -> list[nn.Module]:
        """The decoder's layers are few and short."""
        return [self.backbone(detector), *detector.model.encoder.layers]

    def group_of(self, parameter_name: str) -> str:
        """By the stock names."""
        return group_by_name(parameter_name, "class_embed")

    def check_config(self, config: DabDetrConfig, source: str) -> None:
        """No backbone that transformers would rob of its activations."""
        refuse_vanishing_activations(config.backbone_config, source)

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """One head for all layers."""
        config = detector.config
        detector.class_embed = new_sigmoid_head(config.hidden_size, labels, config.init_std)
        return [f"class_embed.{name}" for name in ("weight", "bias")]

    def class_heads(self, detector: Any) -> list[nn.Linear]:
        """One for all layers."""
        return [detector.class_embed]

    def query_embedding(self, config: DabDetrConfig) -> str | None:
        """The box that it starts from; with patterns, there are several queries a box."""
        return None if config.num_patterns else BOXES

    def resize_queries(self, detector: Any, count: int) -> list[str]:
        """A box for each, or with patterns one for so many.

        Raises:
            UserError: the patterns do not divide them.
        """
        patterns = max(detector.config.num_patterns, 1)
        if count % patterns:
            raise UserError(
                f"model.num_queries: {count} does not fit; this network has {patterns} queries for "
                f"each box (num_patterns), so give a multiple of {patterns}"
            )
        detector.model.num_queries = count // patterns
        return resize_embedding(detector, BOXES, count // patterns)

    def initialize(self, detector: Any) -> None:
        """Boxes start all over the image and of all sizes; stock does the rest as the reference does."""
        nn.init.normal_(getattr(detector.model, BOXES).weight)

    @contextmanager
    def record_looks(self, detector: Any) -> Iterator[list[Look]]:
        """Maps over the encoder's output; this attention gives its weights to whoever asks."""
        recorded: list[Look] = []

        def ask(module: nn.Module, inputs: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            return inputs, {**given, "output_attentions": True}

        def record(module: nn.Module, inputs: tuple, outputs: tuple[Tensor, Tensor]) -> None:
            recorded.append(AttentionMaps(outputs[1].float().unflatten(-1, sizes[-1])))

        attention = detector.model.decoder.layers[-1].cross_attn.cross_attn
        with (
            record_map_sizes(self.backbone(detector)) as sizes,
            attention.register_forward_pre_hook(ask, with_kwargs=True),
            attention.register_forward_hook(record),
        ):
            yield recorded


FAMILY = DAB_DETR = DabDetr()
