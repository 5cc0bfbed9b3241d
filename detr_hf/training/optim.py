"""AdamW over groups of parameters, and how their learning rates change over a run."""

from __future__ import annotations

import math
import re

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detr_hf.errors import UserError, quantity
from detr_hf.modeling.task import Task
from detr_hf.recipe import Optim, Schedule
from detr_hf.training.family_defaults import rates_of

STAGE = re.compile(r"\b(layer\d+|stages[._]\d+)(?=\.)")
"""A stage of a backbone as timm's ResNets (`layer3`), its ConvNeXts (`stages_2`) and transformers name it."""


def build_optimizer(task: Task, optim: Optim) -> Optimizer:
    """AdamW over everything that wants a gradient, in one kernel a device; see ``parameter_groups``."""
    return AdamW(parameter_groups(task, optim), fused=True)


def parameter_groups(task: Task, optim: Optim) -> list[dict]:
    """AdamW parameter groups of everything that wants a gradient, in the order of ``named_parameters``.

    As in DETR the backbone has a rate of its own, and as in Deformable DETR the sampling offsets have; the
    class head may have one too. With
    ``backbone_layer_decay`` the last stage of the backbone has the backbone's rate, the one before it that
    times the decay, and so on down to the stem (as in BEiT and other fine-tuning of deep encoders). Norms,
    biases and other vectors are not decayed.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and a ``name`` such as "backbone" or "other, no
        decay"; with layer decay "backbone layer3".
    """
    settled = rates_of(optim, task.family)
    rates = {
        "class_head": optim.class_head_lr or settled.lr,
        "offsets": settled.lr * (settled.offsets_lr_share or 1.0),
        "other": settled.lr,
        **_backbone_rates(task, optim, settled.backbone_lr),
    }
    groups: dict[str, dict] = {}
    for name, parameter in task.named_parameters():
        if not parameter.requires_grad:
            continue
        part = _part_of(task, name, optim.backbone_layer_decay is not None)
        decays = parameter.ndim > 1
        key = part if decays else f"{part}, no decay"
        settings = {"name": key, "lr": rates[part], "weight_decay": optim.weight_decay if decays else 0.0}
        groups.setdefault(key, {"params": [], **settings})["params"].append(parameter)
    return list(groups.values())


def _backbone_rates(task: Task, optim: Optim, top: float) -> dict[str, float]:
    """The rate of the backbone, or of each of its stages, frozen ones too, from the stem to the last."""
    if optim.backbone_layer_decay is None:
        return {"backbone": top}
    names = [name for name, _ in task.named_parameters() if task.family.group_of(name) == "backbone"]
    stages = list(dict.fromkeys(_part_of(task, name, by_stage=True) for name in names))
    return {stage: top * optim.backbone_layer_decay**above for above, stage in enumerate(reversed(stages))}


def _part_of(task: Task, name: str, by_stage: bool) -> str:
    group = task.family.group_of(name)
    if group != "backbone" or not by_stage:
        return group
    stage = STAGE.search(name)
    return f"backbone {stage[1] if stage else 'stem'}"


def build_schedule(
    optimizer: Optimizer, schedule: Schedule, total_steps: int, steps_done: int = 0
) -> LambdaLR:
    """The multiplier of every learning rate, by optimizer step; continues after ``steps_done`` steps.

    Args:
        optimizer: its groups hold the full rates.
        schedule: of the recipe.
        total_steps: of the whole run.
        steps_done: before a resume.

    Raises:
        UserError: the run would end inside its warm-up.
    """
    if schedule.warmup_steps >= total_steps:
        raise UserError(
            f"optim.schedule.warmup_steps: {quantity(schedule.warmup_steps, 'step')}, but the whole run has "
            f"only {total_steps}; warm up for fewer or train for longer."
        )
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # what LambdaLR asks of an optimizer that is not at its start
    last = steps_done - 1
    return LambdaLR(optimizer, lambda step: rate_multiplier(schedule, step, total_steps), last_epoch=last)


def rate_multiplier(schedule: Schedule, step: int, total_steps: int) -> float:
    """Share of the full rate at ``step`` (counted from 0): linear warm-up, then constant, step or cosine."""
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    if schedule.name == "step":
        return schedule.factor if step >= round(schedule.drop_at * total_steps) else 1.0
    if schedule.name == "cosine":
        done = (step - schedule.warmup_steps) / max(1, total_steps - schedule.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return 1.0
