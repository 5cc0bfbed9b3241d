"""Which parameters learn, and how fast."""

from __future__ import annotations

import re

from torch import nn

from detr_hf.recipe import Optim

DEFAULT_BACKBONE_LR = 1e-5

STAGE = re.compile(r"\.backbone\..*?\b(layer\d+|stages[._]\d+)(?=\.)")
"""A stage of a backbone as timm's ResNets (`layer3`), its ConvNeXts (`stages_2`) and transformers name it."""


def parameter_groups(model: nn.Module, optim: Optim) -> list[dict]:
    """AdamW parameter groups of everything that wants a gradient, in the order of ``named_parameters``.

    As in DETR the backbone has a rate of its own; the class head may have one too. With
    ``backbone_layer_decay`` the last stage of the backbone has the backbone's rate, the one before it that
    times the decay, and so on down to the stem (as in BEiT and other fine-tuning of deep encoders). Norms,
    biases and other vectors are not decayed.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and a ``name`` such as "backbone" or "other, no
        decay"; with layer decay "backbone layer3".
    """
    rates = {
        "class_head": optim.class_head_lr or optim.lr,
        "other": optim.lr,
        **_backbone_rates(model, optim),
    }
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = _part_of(name, optim.backbone_layer_decay is not None)
        decays = parameter.ndim > 1
        key = part if decays else f"{part}, no decay"
        settings = {"name": key, "lr": rates[part], "weight_decay": optim.weight_decay if decays else 0.0}
        groups.setdefault(key, {"params": [], **settings})["params"].append(parameter)
    return list(groups.values())


def _backbone_rates(model: nn.Module, optim: Optim) -> dict[str, float]:
    """The rate of the backbone, or of each of its stages, frozen ones too, from the stem to the last."""
    top = optim.backbone_lr or DEFAULT_BACKBONE_LR
    if optim.backbone_layer_decay is None:
        return {"backbone": top}
    names = (name for name, _ in model.named_parameters() if ".backbone." in name)
    stages = list(dict.fromkeys(_part_of(name, by_stage=True) for name in names))
    return {stage: top * optim.backbone_layer_decay**above for above, stage in enumerate(reversed(stages))}


def _part_of(name: str, by_stage: bool) -> str:
    if ".backbone." in name:
        stage = STAGE.search(name) if by_stage else None
        return "backbone" if not by_stage else f"backbone {stage[1] if stage else 'stem'}"
    return "class_head" if "class_labels_classifier" in name else "other"
