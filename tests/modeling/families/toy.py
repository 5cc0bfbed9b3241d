"""A second family: a grid of cells that each say a class and a box. It has nothing of DETR but the seam.

Its heads give one logit a class, read by a sigmoid, and no "no object"; its names are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.criterion import LossTerm, Matched, bbox_loss, giou_loss
from detr_hf.modeling.families.base import DetectorOutput

CELLS = 4


class ToyConfig(PreTrainedConfig):
    model_type = "toy"

    def __init__(self, width: int = 8, **kwargs: Any):
        self.width = width
        super().__init__(**kwargs)


class ToyEyes(nn.Module):
    """A backbone as the seam wants it: (map, mask) pairs, and the network under ``model``."""

    def __init__(self, width: int):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, width, 8, 8), nn.ReLU())

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(self.model(pixel_values), pixel_mask[:, ::8, ::8].bool())]


class ToyForObjectDetection(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig):
        super().__init__(config)
        self.eyes = ToyEyes(config.width)
        self.kinds = nn.Linear(config.width, config.num_labels)
        self.places = nn.Linear(config.width, 4)
        self.post_init()


def sigmoid_class_loss(matched: Matched) -> Tensor:
    """Binary cross-entropy of every query and class, over the step's objects."""
    wanted = torch.zeros_like(matched.logits)
    pairs = matched.matches
    wanted[pairs.layer, pairs.image, pairs.query, matched.of_objects("class_labels")] = 1
    loss = functional.binary_cross_entropy_with_logits(matched.logits, wanted, reduction="none")
    return loss.flatten(1).sum(1) / max(matched.normalizers.objects, 1.0)


class Toy:
    """The toy's answers to ``Family``."""

    model_type = "toy"
    detector_class = ToyForObjectDetection
    segmenter_class = None
    box_terms = (
        LossTerm("loss_ce", "class_loss_coefficient", sigmoid_class_loss),
        LossTerm("loss_bbox", "bbox_loss_coefficient", bbox_loss),
        LossTerm("loss_giou", "giou_loss_coefficient", giou_loss),
    )

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        cells, _ = detector.eyes(pixel_values, pixel_mask)[0]
        queries = functional.adaptive_avg_pool2d(cells, CELLS).flatten(2).transpose(1, 2)[None]
        return DetectorOutput(detector.kinds(queries), detector.places(queries).sigmoid())

    def class_probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid()

    def is_object(self, logits: Tensor) -> Tensor:
        return torch.ones_like(logits[..., 0], dtype=torch.bool)

    def num_queries(self, config: ToyConfig) -> int:
        return CELLS * CELLS

    def detector_of(self, model: Any) -> Any:
        return model

    def backbone(self, detector: Any) -> Any:
        return detector.eyes

    def compilable(self, detector: Any) -> list[nn.Module]:
        return [detector.eyes]

    def group_of(self, parameter_name: str) -> str:
        return {"eyes": "backbone", "kinds": "class_head"}.get(parameter_name.split(".")[1], "other")

    def check_config(self, config: ToyConfig, source: str) -> None:
        """Nothing to mend."""

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        detector.config.id2label, detector.config.label2id = labels.id2label, labels.label2id
        detector.kinds = nn.Linear(detector.config.width, labels.num_classes)
        return ["kinds.weight", "kinds.bias"]

    def segmenter_of(self, detector: Any, source: str) -> Any:
        raise UserError(f"{source}: no mask head")

    def mask_parts(self, segmenter: Any) -> dict[str, nn.Module]:
        return {}

    def mask_logits(
        self, segmenter: Any, detected: DetectorOutput, image: Tensor, query: Tensor, chunk: int | None
    ) -> Tensor:
        raise AssertionError("no mask head")

    @contextmanager
    def record_attention(self, detector: Any) -> Iterator[list[Tensor]]:
        raise UserError("no attention")
        yield []
