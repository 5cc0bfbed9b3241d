"""Deformable DETR (Zhu et al. 2021) as transformers has it: one level or four, box refinement, two stages.

The stock network is sound; what it is trained with is not. The class heads of a new label map start with a
bias of 0, the encoder's proposals have no loss, and the class loss counts half (docs/differences.md). Losses,
heads and defaults follow the reference implementation (fundamentalvision/Deformable-DETR).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, DeformableDetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.attention import Look, SampledPoints
from detr_hf.modeling.backbones import refuse_vanishing_activations
from detr_hf.modeling.class_scores import SIGMOID
from detr_hf.modeling.criterion import QuerySet
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

QUERIES = "query_position_embeddings"
LOSSES = LossSettings(class_loss_coefficient=2.0, costs=MatchingCosts(class_cost=2.0))


class DeformableDetr:
    """Deformable DETR's answers to ``Family``."""

    model_type = "deformable_detr"
    name, paper = "Deformable DETR", "https://arxiv.org/abs/2010.04159"
    detector_class = DeformableDetrForObjectDetection
    processor_class = DeformableDetrImageProcessor
    mask_head = None
    scores = SIGMOID
    box_terms = SIGMOID_BOX_TERMS
    defaults = Defaults(LOSSES, lr=2e-4, backbone_lr=2e-5, offsets_lr_share=0.1)
    has_heads_of_layers = True

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """The stock network, and the heads of every layer; with two stages also the encoder's proposals.

        Raises:
            UserError: with two stages, the maps have fewer places than are to be proposed.
        """
        self._keep_float32(detector)
        with _record_masks(detector.model.encoder) as masks:
            found = self._stock(detector, pixel_values, pixel_mask)
        hidden = found.intermediate_hidden_states.transpose(0, 1)  # [L, B, Q, d]
        refined = found.intermediate_reference_points.transpose(0, 1)  # [L, B, Q, 2 or 4]
        logits, boxes = [], []
        for layer in range(0 if all_layers else len(hidden) - 1, len(hidden)):
            points = refined[layer - 1] if layer > 0 else found.init_reference_points
            logits.append(detector.class_embed[layer](hidden[layer]))
            boxes.append(boxes_around(points, detector.bbox_embed[layer](hidden[layer])))
        output = DetectorOutput(torch.stack(logits), torch.stack(boxes))
        if detector.config.two_stage:
            # places at the rim of a map have no box, but learn to be no object, as in the reference: they all
            # have the same score, which would rise until they are proposed
            classes, places = found.enc_outputs_class[None], found.enc_outputs_coord_logits.sigmoid()[None]
            output.further = [QuerySet("proposals", classes, places, masks[0], one_class=True)]
        return output

    def _stock(self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor) -> Any:
        try:
            return detector.model(pixel_values, pixel_mask=pixel_mask)
        except RuntimeError as error:
            if "selected index k out of range" not in str(error):
                raise
            height, width = pixel_values.shape[-2:]
            raise UserError(
                f"images of {height} x {width} pixels are too small for this Deformable DETR: it proposes "
                f"{detector.config.two_stage_num_proposals} objects an image, and their maps have fewer "
                "places. Raise the sizes in transforms, or start training from fewer: model.num_queries."
            ) from error

    def num_queries(self, config: DeformableDetrConfig) -> int:
        """With two stages, the proposals that go on to the decoder."""
        return config.two_stage_num_proposals if config.two_stage else config.num_queries

    def backbone(self, detector: Any) -> Any:
        """The stock ``DeformableDetrConvEncoder``."""
        return detector.model.backbone

    def encoder(self, detector: Any) -> nn.Module:
        """Of all levels."""
        return detector.model.encoder

    def compilable(self, detector: Any) -> list[nn.Module]:
        """The backbone: the transformer's layers take sizes as Python numbers, new for each batch."""
        return [detector.model.backbone]

    def group_of(self, parameter_name: str) -> str:
        """By the stock names; ``model.reference_points`` has no module but itself behind it."""
        return group_by_name(parameter_name, "class_embed", ("sampling_offsets", ".reference_points."))

    def check_config(self, config: DeformableDetrConfig, source: str) -> None:
        """No backbone that transformers would rob of its activations."""
        refuse_vanishing_activations(config.backbone_config, source)

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """A head of its own for every layer, and for the encoder's proposals."""
        config, count = detector.config, len(detector.class_embed)
        heads = [new_sigmoid_head(config.d_model, labels, config.init_std) for _ in range(count)]
        detector.class_embed = nn.ModuleList(heads)
        if config.two_stage:  # the decoder scores the proposals with the last one
            detector.model.decoder.class_embed = detector.class_embed
        return [f"class_embed.{layer}.{name}" for layer in range(count) for name in ("weight", "bias")]

    def class_heads(self, detector: Any) -> list[nn.Linear]:
        """One of each layer, and with two stages that of the proposals."""
        return list(detector.class_embed)

    def query_embedding(self, config: DeformableDetrConfig) -> str | None:
        """With one stage; with two, queries are proposals of the encoder."""
        return None if config.two_stage else QUERIES

    def resize_queries(self, detector: Any, count: int) -> list[str]:
        """With two stages a matter of the config alone: so many proposals go on to the decoder."""
        if detector.config.two_stage:
            detector.config.two_stage_num_proposals = count
            return []
        return resize_embedding(detector, QUERIES, count)

    def initialize(self, detector: Any) -> None:
        """Boxes start small at reference points all over the image; projections keep the variance."""
        for box_head in detector.bbox_embed:
            nn.init.zeros_(box_head.layers[-1].weight)
            nn.init.zeros_(box_head.layers[-1].bias)
        if not detector.config.two_stage:  # the proposals of two stages have sizes of their own
            nn.init.constant_(detector.bbox_embed[0].layers[-1].bias[2:], -2.0)
            nn.init.normal_(detector.model.query_position_embeddings.weight)
        for projection in detector.model.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)

    @contextmanager
    def record_looks(self, detector: Any) -> Iterator[list[Look]]:
        """The points of all heads and levels, worked out from what goes into the last layer's attention."""
        recorded: list[Look] = []

        def record(module: nn.Module, inputs: tuple, given: dict[str, Any]) -> None:
            recorded.append(_sampled_points(module, inputs[0] if inputs else given["hidden_states"], given))

        attention = detector.model.decoder.layers[-1].encoder_attn
        with attention.register_forward_pre_hook(record, with_kwargs=True):
            yield recorded

    def _keep_float32(self, detector: Any) -> None:
        """Heads, reference points, and the norms that decide the precision of all shares of the image.

        With refinement the decoder has modules of its own for the same weights of the box heads.
        """
        model, refining = detector.model, detector.model.decoder.bbox_embed or ()
        keep_float32(*detector.class_embed, *detector.bbox_embed, *refining)
        keep_float32(*(norm for _, norm in model.input_proj))
        keep_float32(model.enc_output_norm if detector.config.two_stage else model.reference_points)


FAMILY = DEFORMABLE_DETR = DeformableDetr()


@contextmanager
def _record_masks(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Collects which places of all levels are real, ``bool [B, P]``, of each forward pass."""
    recorded: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple, given: dict[str, Any]) -> None:
        recorded.append(given["attention_mask"])

    with encoder.register_forward_pre_hook(record, with_kwargs=True):
        yield recorded


def _sampled_points(attention: Any, hidden: Tensor, given: dict[str, Any]) -> SampledPoints:
    """As the module places them: offsets in pixels of each map, or in shares of the reference box."""
    hidden = hidden + given["position_embeddings"]  # [B, Q, d]
    heads, levels, points = attention.n_heads, attention.n_levels, attention.n_points
    references = given["reference_points"][:, :, None, :, None]  # [B, Q, 1, levels, 1, 2 or 4]
    offsets = attention.sampling_offsets(hidden).unflatten(-1, (heads, levels, points, 2))
    if references.shape[-1] == 4:
        shift = offsets / points * references[..., 2:] * 0.5
    else:
        shift = offsets / given["spatial_shapes"].flip(-1)[None, None, None, :, None]  # (w, h) of each level
    weights = attention.attention_weights(hidden).unflatten(-1, (heads, levels * points)).softmax(-1)
    return SampledPoints((references[..., :2] + shift).flatten(2, 4).float(), weights.flatten(2).float())
