"""AdamW over the task's parameter groups, and how the rates change over a run."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detr_hf.errors import UserError
from detr_hf.modeling.parameters import parameter_groups
from detr_hf.recipe import Optim, Schedule


def build_optimizer(model: nn.Module, optim: Optim) -> Optimizer:
    """AdamW over everything that wants a gradient, in one kernel a device; see ``parameter_groups``."""
    return AdamW(parameter_groups(model, optim), fused=True)


def build_schedule(
    optimizer: Optimizer, schedule: Schedule, total_steps: int, steps_done: int = 0
) -> LambdaLR:
    """The multiplier of every learning rate, by optimizer step; goes on after ``steps_done`` steps.

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
            f"optim.schedule.warmup_steps: {schedule.warmup_steps} steps, but the whole run has only "
            f"{total_steps}; warm up for fewer or train for longer."
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
