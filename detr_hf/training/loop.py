"""The training loop: it knows steps, processes and checkpoints, and asks the task for everything else."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch
from detr_hf.loading.loaders import BatchLoader, TrainingLoader
from detr_hf.loading.truth import TruthOfSplit
from detr_hf.modeling.losses import Normalisers
from detr_hf.recipe import Recipe
from detr_hf.training.checkpoints import Progress, save_model, save_training
from detr_hf.training.evaluation import evaluate, score_of
from detr_hf.training.setup import Task
from detr_hf.training.tracking import RunLog


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; the message names the step, the images and the term."""


@dataclass
class Run:
    """Everything a run is made of, ready to go on at ``progress.step``."""

    recipe: Recipe
    accelerator: Accelerator
    task: Task  # the plain task; what is evaluated and saved
    model: nn.Module  # the same, wrapped for several processes and mixed precision; what is trained
    processor: DetrImageProcessor
    optimiser: Optimizer
    schedule: LambdaLR
    training: TrainingLoader
    validation: BatchLoader
    truth: TruthOfSplit
    log: RunLog
    identity: dict[str, Any]
    progress: Progress
    terms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.recipe.output_dir)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the training images."""
        return self.training.sampler.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return total_steps(self.recipe, self.steps_per_epoch)


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """``epochs`` in optimiser steps, or ``max_steps`` if that is less."""
    steps = recipe.optim.epochs * steps_per_epoch
    return min(steps, recipe.optim.max_steps or steps)


def train(run: Run) -> None:
    """Train to the end of the recipe; evaluate after an epoch if due, and write ``last/`` and ``best/``."""
    while run.progress.step < run.total_steps:
        train_epoch(run)
        epoch = -(-run.progress.step // run.steps_per_epoch)
        if epoch % run.recipe.evaluation.every == 0 or run.progress.step >= run.total_steps:
            evaluate_and_keep_best(run, epoch)
        save_training(
            run.folder / "last",
            run.accelerator,
            run.task,
            run.processor,
            run.optimiser,
            run.progress,
            run.identity,
        )
        run.accelerator.wait_for_everyone()
    if run.progress.best is None:  # nothing was left to do, and `best/` is not in this folder
        evaluate_and_keep_best(run, -(-run.progress.step // run.steps_per_epoch))


def train_epoch(run: Run) -> None:
    """The rest of the current epoch, one optimiser step at a time."""
    epoch, done = divmod(run.progress.step, run.steps_per_epoch)
    last_step = min(run.steps_per_epoch, run.total_steps - epoch * run.steps_per_epoch)
    run.training.sampler.set_position(epoch, done)
    batches = iter(run.training)
    run.model.train()
    bar = tqdm(
        range(done, last_step),
        initial=done,
        total=run.steps_per_epoch,
        desc=f"epoch {epoch + 1}/{run.recipe.optim.epochs}",
        leave=False,
        disable=not run.accelerator.is_main_process,
    )
    started = time.perf_counter()
    for _ in bar:
        micro_batches = [next(batches) for _ in range(run.training.sampler.micro_batches_per_step)]
        loss = optimiser_step(run, micro_batches)
        bar.set_postfix(loss=f"{loss:.3f}")
    seconds = time.perf_counter() - started
    _log_epoch(run, epoch + 1, images_per_second=(last_step - done) * run.recipe.optim.batch_size / seconds)


def optimiser_step(run: Run, micro_batches: list[Batch]) -> float:
    """Forward and backward of all micro-batches, one update; returns this process's share of the loss.

    Losses are sums divided by what the whole step holds, over all micro-batches and processes. Distributed
    training averages gradients over processes, which the factor ``num_processes`` turns back into a sum.
    """
    accelerator, model = run.accelerator, run.model
    micro_batches = [batch.to(accelerator.device) for batch in micro_batches]
    normalisers = step_normalisers(accelerator, run.task, micro_batches)
    step_terms: dict[str, float] = defaultdict(float)
    for index, batch in enumerate(micro_batches):
        is_last = index == len(micro_batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(model):
            terms = model(batch.pixel_values, batch.pixel_mask, batch.targets, normalisers)
            bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
            if bad:
                raise NonFiniteLossError(_not_finite(run.progress.step + 1, bad, [batch]))
            accelerator.backward(terms["loss"] * accelerator.num_processes)
        for name, term in terms.items():
            step_terms[name] += float(term.detach())
    norm = float(accelerator.clip_grad_norm_(model.parameters(), run.recipe.optim.clip_norm))
    if not math.isfinite(norm) and accelerator.scaler is None:  # a scaler skips the step, and scales down
        raise NonFiniteLossError(_not_finite(run.progress.step + 1, ["gradient"], micro_batches))
    run.optimiser.step()
    run.schedule.step()
    run.optimiser.zero_grad()
    run.progress.step += 1
    for name, value in {**step_terms, "gradient_norm": norm}.items():
        if math.isfinite(value):
            run.terms[name].append(value)
    return step_terms["loss"]


def step_normalisers(accelerator: Accelerator, task: Task, micro_batches: list[Batch]) -> Normalisers:
    """What the losses of one optimiser step are divided by; known from its targets before a forward pass."""
    mine = Normalisers(0.0, 0.0)
    for batch in micro_batches:
        mine = mine + task.normalisers(batch.targets)
    share = torch.tensor([mine.objects, mine.class_weight], device=accelerator.device)
    objects, class_weight = accelerator.reduce(share, reduction="sum").tolist()
    return Normalisers(objects, class_weight)


def evaluate_and_keep_best(run: Run, epoch: int) -> None:
    """Score the validation split, log it, and save the model as ``best/`` when it is the best so far."""
    results = evaluate(run.accelerator, run.task, run.validation, run.truth)
    run.log.write(run.progress.step, "validation", {"epoch": epoch, **results})
    name = run.recipe.checkpoint.best
    score = score_of(results, name)
    run.accelerator.print(f"epoch {epoch}: {name} {score:.3f}" + _beside(results))
    if run.progress.best is None or score > run.progress.best:
        run.progress.best, run.progress.best_step = score, run.progress.step
        if run.accelerator.is_main_process:
            facts = {"epoch": epoch, "step": run.progress.step, **results}
            save_model(run.folder / "best", run.task, run.processor, facts)


def _beside(results: dict[str, Any]) -> str:
    boxes = results["detection"]
    return f" (box AP {boxes['AP'] or 0:.3f}, AP50 {boxes['AP50'] or 0:.3f}, AR {boxes['AR'] or 0:.3f})"


def _not_finite(step: int, terms: list[str], batches: list[Batch]) -> str:
    images = ", ".join(str(target["image_id"]) for batch in batches for target in batch.targets)
    return (
        f"step {step}: the loss is not finite (terms: {', '.join(terms)}; image ids: {images}). "
        "Lower optim.lr, add optim.schedule.warmup_steps, or train with mixed_precision: no."
    )


def _log_epoch(run: Run, epoch: int, images_per_second: float) -> None:
    """Mean of every term over the epoch's steps, learning rates and speed."""
    means = {name: sum(values) / len(values) for name, values in run.terms.items()}
    run.terms.clear()
    norm = means.pop("gradient_norm", None)  # the same on every process; the terms are shares that add up
    shares = torch.tensor(list(means.values()), device=run.accelerator.device)
    totals = run.accelerator.reduce(shares, reduction="sum").tolist()
    rates = {group.get("name", str(i)): group["lr"] for i, group in enumerate(run.optimiser.param_groups)}
    terms = {**dict(zip(means, totals, strict=True)), "gradient_norm": norm}
    facts = {"epoch": epoch, **terms, "lr": rates, "images_per_second": round(images_per_second, 2)}
    run.log.write(run.progress.step, "train", facts)
