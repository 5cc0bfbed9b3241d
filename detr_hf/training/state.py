"""What a run is made of: ``TrainState`` is what a checkpoint keeps of it, ``Run`` is the rest."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detr_hf.loading.loaders import BatchLoader, TrainingLoader
from detr_hf.loading.truth import GroundTruth
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.modeling.task import Task
from detr_hf.recipe import Recipe
from detr_hf.training.clock import RunClock, duration
from detr_hf.training.ema import AveragedWeights
from detr_hf.training.log import RunLog, Sums


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass
class TrainState:
    """How far a run is: all that is saved besides the weights, the optimizer and the random generators.

    Plain values, the same on every process and saved as JSON, and ``tensors``, saved as safetensors.
    """

    identity: dict[str, Any] = field(default_factory=dict)  # which run this is; no other resumes from it
    step: int = 0  # optimizer steps done, skipped ones too
    best: float | None = None  # the best score so far, and the step it was reached at
    best_step: int | None = None
    evaluated_step: int | None = None  # the step of the last evaluation
    skipped: int = 0  # steps without an update, because loss or gradient were not finite
    stopping_best: float | None = None  # of early stopping: the score to beat, and
    stopping_waited: int = 0  # the evaluations since it was reached
    epoch_sums: Sums = field(default_factory=dict)  # what was measured in the epoch under way
    tracker_id: str = field(default_factory=_new_id)  # what W&B and trackio know the run by
    tensors: dict[str, Tensor] = field(default_factory=dict)  # averaged weights; updated in place

    @property
    def is_evaluated(self) -> bool:
        """Whether the weights of this very step have been scored."""
        return self.evaluated_step == self.step

    def plain(self) -> dict[str, Any]:
        """Every field but the tensors, for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "tensors"}

    def forget_scores(self) -> None:
        """No score counts yet: there is no ``best/`` that the scores could be of."""
        self.best = self.best_step = self.stopping_best = None
        self.stopping_waited = 0


@dataclass
class Run:
    """The parts of a run, ready to continue at ``state.step``; made anew by every start."""

    recipe: Recipe
    accelerator: Accelerator
    task: Task  # the network (``task.model``) and its losses
    ddp_task: nn.Module  # the same as Accelerate runs it, on several processes; for `optimizer_step` alone
    processor: ImageProcessor
    optimizer: Optimizer
    schedule: LambdaLR
    train_loader: TrainingLoader
    validation_loader: BatchLoader
    truth: GroundTruth  # of the validation split
    state: TrainState
    log: RunLog
    ema: AveragedWeights | None = None  # where `optim.ema` asks for it
    clock: RunClock = field(default_factory=RunClock)

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.recipe.output_dir)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training images."""
        return self.train_loader.sampler.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return total_steps(self.recipe, self.steps_per_epoch)

    @property
    def epochs(self) -> int:
        """Passes over the training images in the whole run, the last one perhaps not a whole one."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def time_left(self) -> str:
        """About how long the run still takes, if it is not stopped early."""
        ahead, every = self.total_steps - self.state.step, self.recipe.evaluation.every * self.steps_per_epoch
        evaluations = -(-self.total_steps // every) - self.state.step // every if ahead > 0 else 0
        left = self.clock.seconds_left(max(ahead, 0), evaluations)
        return "time left not known" if left is None else f"{duration(left)} left"

    def evaluated_weights(self) -> AbstractContextManager[None]:
        """While open, ``task`` holds the weights that are scored and kept: the averaged ones, if any."""
        return nullcontext() if self.ema is None else self.ema.in_place()


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """``epochs`` in optimizer steps, or ``max_steps`` if that is less."""
    steps = recipe.optim.epochs * steps_per_epoch
    return min(steps, recipe.optim.max_steps or steps)
