"""Small seeded detectors of every family but DETR (see ``tiny_models``), nothing at its initial value."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    DabDetrConfig,
    DabDetrForObjectDetection,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
)

from detr_hf.labels import LabelMap
from detr_hf.modeling.families.registry import family_of
from tests.tiny_models import LABELS, timm_backbone

QUERIES = 7
LAYERS = 3
FOUR_LEVELS = {"num_feature_levels": 4, "out_indices": [2, 3, 4]}

VARIANTS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "conditional_detr": (ConditionalDetrForObjectDetection, ConditionalDetrConfig, {}),
    "dab_detr": (DabDetrForObjectDetection, DabDetrConfig, {}),
    "deformable_detr_single_scale": (
        DeformableDetrForObjectDetection,
        DeformableDetrConfig,
        {"num_feature_levels": 1, "out_indices": [4]},
    ),
    "deformable_detr": (DeformableDetrForObjectDetection, DeformableDetrConfig, FOUR_LEVELS),
    "deformable_detr_box_refine": (
        DeformableDetrForObjectDetection,
        DeformableDetrConfig,
        {**FOUR_LEVELS, "with_box_refine": True},
    ),
    "deformable_detr_two_stage": (
        DeformableDetrForObjectDetection,
        DeformableDetrConfig,
        {**FOUR_LEVELS, "with_box_refine": True, "two_stage": True, "two_stage_num_proposals": QUERIES},
    ),
}
"""Every family but DETR, in every shape that changes its forward pass."""


def family_config(variant: str, labels: LabelMap = LABELS, **settings: Any) -> Any:
    """Two encoder and three decoder layers of width 64, eight heads, seven queries."""
    _, config, own = VARIANTS[variant]
    given = {**own, **settings}
    backbone = timm_backbone("test_resnet", out_indices=given.pop("out_indices", [1, 2, 3, 4]))
    width = "hidden_size" if config is DabDetrConfig else "d_model"
    usual = {"encoder_layers": 2, "decoder_layers": LAYERS, "num_queries": QUERIES, width: 64}
    usual |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    names = {"id2label": dict(labels.id2label), "label2id": dict(labels.label2id)}
    return config(backbone_config=backbone, **names, **{**usual, **given})


_MODELS: dict[str, Any] = {}


def family_detector(variant: str, seed: int = 0, **settings: Any) -> Any:
    """A stock detector in eval mode; a copy of one that is made once."""
    key = repr((variant, seed, settings, torch.get_default_dtype()))
    if key not in _MODELS:
        torch.manual_seed(seed)
        _MODELS[key] = randomized(VARIANTS[variant][0](family_config(variant, **settings)), seed)
    return copy.deepcopy(_MODELS[key])


@torch.no_grad()
def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Norms, biases, offsets and heads random, and every query of another opinion; in place, in eval mode.

    Tensors that are tied stay tied, and heads of layers that are not are all different.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor, spread: float, around: float = 0.0) -> None:
        tensor.copy_(around + spread * torch.randn(tensor.shape, generator=generator))

    for name, module in model.named_modules():
        _randomize(name, module, noise)
    for name, parameter in model.named_parameters():
        if "query_position_embeddings" in name:
            noise(parameter, 2.0)
        if "query_refpoint_embeddings" in name:
            noise(parameter, 1.0)
    return model.eval()


def _randomize(name: str, module: nn.Module, noise: Callable[..., None]) -> None:
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        noise(module.weight, 0.2, around=1)
        noise(module.bias, 0.2)
    elif isinstance(module, nn.Linear) and "backbone" not in name:
        if "class_embed" in name or "class_labels_classifier" in name:
            noise(module.weight, 0.3)
            noise(module.bias, 0.5, around=-1.0)
        elif "bbox" in name:
            noise(module.weight, 0.15)
            noise(module.bias, 0.3)
        elif "sampling_offsets" in name:
            noise(module.weight, 0.05)
        else:
            noise(module.weight, 1.2 / module.in_features**0.5)
            noise(module.bias, 0.05)


def save_family(variant: str, folder: Path, **settings: Any) -> Path:
    """A detector of ``family_detector`` with its image processor, as on the Hub."""
    detector = family_detector(variant, **settings)
    detector.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 128}
    family_of(detector).processor_class(size=size).save_pretrained(folder)
    return folder
