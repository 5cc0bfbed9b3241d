"""Which parameters learn, and how fast."""

from __future__ import annotations

from torch import nn

from detr_hf.recipe import Optim

DEFAULT_BACKBONE_LR = 1e-5


def parameter_groups(model: nn.Module, optim: Optim) -> list[dict]:
    """AdamW parameter groups of everything that wants a gradient, in the order of ``named_parameters``.

    As in DETR the backbone has a rate of its own; the class head may have one too. Norms, biases and other
    vectors are not decayed.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and a ``name`` such as "backbone" or "other, no
        decay".
    """
    rates = {
        "backbone": optim.backbone_lr or DEFAULT_BACKBONE_LR,
        "class_head": optim.class_head_lr or optim.lr,
        "other": optim.lr,
    }
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = (
            "backbone"
            if ".backbone." in name
            else "class_head"
            if "class_labels_classifier" in name
            else "other"
        )
        decays = parameter.ndim > 1
        key = part if decays else f"{part}, no decay"
        settings = {"name": key, "lr": rates[part], "weight_decay": optim.weight_decay if decays else 0.0}
        groups.setdefault(key, {"params": [], **settings})["params"].append(parameter)
    return list(groups.values())
