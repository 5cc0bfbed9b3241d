"""One optimizer step: the same gradient however its images are cut into micro-batches and processes."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import nullcontext

import torch
from accelerate import Accelerator

from detr_hf.loading.collate import Batch
from detr_hf.modeling.criterion import Normalizers
from detr_hf.training.nonfinite import Faults, any_rank, skip_or_stop
from detr_hf.training.run import Run
from detr_hf.training.setup import Task


def optimizer_step(run: Run, micro_batches: list[Batch]) -> float:
    """Forward and backward of all micro-batches, one update; returns this process's share of the loss.

    Losses are sums divided by what the whole step holds, over all micro-batches and processes. Distributed
    training averages gradients over processes, which the factor ``num_processes`` turns back into a sum.
    """
    accelerator, model = run.accelerator, run.model
    micro_batches = [batch.to(accelerator.device) for batch in micro_batches]
    normalizers = step_normalizers(accelerator, run.task, micro_batches)
    step_terms: dict[str, float] = defaultdict(float)
    faults = Faults()
    for index, batch in enumerate(micro_batches):
        is_last = index == len(micro_batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(model):
            terms = model(batch.pixel_values, batch.pixel_mask, batch.targets, normalizers)
            faults.note(terms, batch)
            accelerator.backward(terms["loss"] * accelerator.num_processes)
        for name, term in terms.items():
            step_terms[name] += float(term.detach())
    norm = float(accelerator.clip_grad_norm_(model.parameters(), run.recipe.optim.clip_norm))
    if not math.isfinite(norm) and accelerator.scaler is None:  # a scaler skips the step, and scales down
        faults.note_gradient(micro_batches)
    if any_rank(accelerator, bool(faults.terms)):
        skip_or_stop(run, faults)
        if accelerator.scaler is not None:
            accelerator.scaler.update()
    else:
        run.optimizer.step()
        if run.average is not None:
            run.average.update(run.progress.step + 1)
        for name, value in {**step_terms, "gradient_norm": norm}.items():
            run.meter.add(name, value)
    run.schedule.step()
    run.optimizer.zero_grad()
    run.progress.step += 1
    return step_terms["loss"]


def step_normalizers(accelerator: Accelerator, task: Task, micro_batches: list[Batch]) -> Normalizers:
    """What the losses of one optimizer step are divided by; known from its targets before a forward pass."""
    mine = Normalizers(0.0, 0.0)
    for batch in micro_batches:
        mine = mine + task.normalizers(batch.targets)
    share = torch.tensor([mine.objects, mine.class_weight_sum], device=accelerator.device)
    objects, class_weight_sum = accelerator.reduce(share, reduction="sum").tolist()
    return Normalizers(objects, class_weight_sum)
