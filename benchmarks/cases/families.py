"""A training step and the boxes of an image, with every family as its stock config has it by default.

A step is the forward and backward pass with the losses of all decoder layers, in training mode, with stem and
first stage of the backbone frozen as in the recipes. Queries are the config's own: 100 of DETR, 300 of the
others. Weights are random; the parameters are counted with the class heads of the construction labels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, images_of, targets_of
from benchmarks.settings import Settings
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.families.registry import FAMILIES
from detr_hf.modeling.task import DetectionTask


def side_of(model_type: str, settings: Settings, query_groups: int = 1, **of_config: Any) -> Side:
    """The package's task on a network that starts from nothing."""
    torch.manual_seed(settings.seed)
    family = FAMILIES[model_type]
    config = family.detector_class.config_class(backbone=settings.backbone, **of_config)
    detector = family.detector_class(config)
    family.initialize(detector)
    family.replace_classes(detector, LABELS)
    freeze_backbone(family.backbone(detector), "stem_and_first_stage")
    task = DetectionTask(detector, LABELS, query_groups=query_groups).to(settings.device)
    batch, image = images_of(settings, settings.images), images_of(settings, 1)
    targets = targets_of(settings)
    losses: dict[str, Tensor] = {}

    def step() -> None:
        detector.train().zero_grad()
        losses.update(task(*batch, targets, task.normalizers(targets)))
        losses["loss"].backward()

    def inference() -> None:
        detector.eval()
        task.predict(*image, targets[:1])

    parameters = sum(parameter.numel() for parameter in detector.parameters())
    return Side(step, lambda: losses, {"inference": inference}, lambda: {"parameters": parameters})


detr = partial(side_of, "detr")
detr_query_groups = partial(side_of, "detr", query_groups=3)
conditional_detr = partial(side_of, "conditional_detr")
dab_detr = partial(side_of, "dab-detr")
deformable_detr_single_scale = partial(side_of, "deformable_detr", num_feature_levels=1)
deformable_detr_box_refine = partial(side_of, "deformable_detr", with_box_refine=True)
deformable_detr_two_stage = partial(side_of, "deformable_detr", with_box_refine=True, two_stage=True)
