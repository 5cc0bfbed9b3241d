"""Everything a run is made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import DetrImageProcessor

from detr_hf.loading.loaders import BatchLoader, TrainingLoader
from detr_hf.loading.truth import GroundTruth
from detr_hf.recipe import Recipe
from detr_hf.training.bad_sample_log import BadSampleLog
from detr_hf.training.checkpoints import Progress
from detr_hf.training.early_stopping import Patience
from detr_hf.training.ema import AverageOfWeights
from detr_hf.training.meter import Meter
from detr_hf.training.setup import Task
from detr_hf.training.tracking import RunLog


@dataclass
class Run:
    """Everything a run is made of, ready to go on at ``progress.step``."""

    recipe: Recipe
    accelerator: Accelerator
    task: Task  # the plain task; what is evaluated and saved
    model: nn.Module  # the same, wrapped for several processes and mixed precision; what a step runs
    processor: DetrImageProcessor
    optimizer: Optimizer
    schedule: LambdaLR
    training: TrainingLoader
    validation: BatchLoader
    truth: GroundTruth
    log: RunLog
    identity: dict[str, Any]
    progress: Progress
    meter: Meter  # what is measured, for the log
    bad_samples: BadSampleLog
    patience: Patience  # of `early_stopping`
    average: AverageOfWeights | None = None  # where `optim.ema` asks for one
    extra: dict[str, Tensor] = field(default_factory=dict)  # further tensors that checkpoints carry
    started: float = field(default_factory=time.monotonic)  # what `time_limit` counts from
    best_is_new: Callable[[], None] = lambda: None  # called when ``best/`` was written

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.recipe.output_dir)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training images."""
        return self.training.sampler.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return total_steps(self.recipe, self.steps_per_epoch)

    def as_evaluated(self) -> AbstractContextManager[None]:
        """While open, ``task`` holds the weights that are evaluated and kept: the averaged ones, if any."""
        return nullcontext() if self.average is None else self.average.in_place()


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """``epochs`` in optimizer steps, or ``max_steps`` if that is less."""
    steps = recipe.optim.epochs * steps_per_epoch
    return min(steps, recipe.optim.max_steps or steps)
