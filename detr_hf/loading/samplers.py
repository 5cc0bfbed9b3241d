"""Which samples make up each optimizer step, on each process, in each micro-batch.

The order of an epoch follows from the run's seed and the epoch alone, so that a run resumes at any step and
every process knows what the others do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from detr_hf.errors import UserError, quantity
from detr_hf.loading.rows import Key

Order = NDArray[np.int64]

POOL_MICRO_BATCHES = 32
"""Like shapes are looked for among the images of so many micro-batches: few left-overs, still shuffled."""

REPEATING, GROUPING = 1, 2  # tell the random streams of one epoch apart


def repeated(factors: NDArray[np.float64], seed: int, epoch: int) -> Order:
    """Row i ``factors[i]`` times on average over epochs, each time rounded up or down; shuffled.

    Systematic sampling: equally spaced marks are laid over the factors put end to end in random order, and a
    row is taken for every mark on it. Every epoch so has the same length, which a resume counts on.

    Args:
        factors: ``[rows]``; see :func:`detr_hf.loading.balance.repeat_factors`. Below 1 a row is in some
            epochs only, in that share of them.
        seed, epoch: what the order follows from.
    """
    random = np.random.default_rng([seed, epoch, REPEATING])
    order = random.permutation(len(factors))
    ends = np.cumsum(factors[order])
    length = repeated_length(factors)
    marks = (np.arange(length) + random.uniform()) * (ends[-1] / length)
    taken = order[np.minimum(np.searchsorted(ends, marks, side="right"), len(order) - 1)]
    return random.permutation(taken)


def repeated_length(factors: NDArray[np.float64]) -> int:
    """Rows in an epoch of :func:`repeated`."""
    return int(factors.sum() + 1e-6)  # twenty times a fifth are four, whatever the last bit


def grouped(rows: Order, aspects: NDArray[np.float64], micro_batch_size: int, seed: int, epoch: int) -> Order:
    """The same rows, so that each following ``micro_batch_size`` of them have about one aspect ratio.

    Rows are sorted within pools of ``POOL_MICRO_BATCHES`` micro-batches (ties stay shuffled), and the
    micro-batches shuffled over the epoch.

    Args:
        rows: an epoch in random order; a whole number of micro-batches.
        aspects: ``[all rows]``, height / width.
        micro_batch_size, seed, epoch: of the run; the order follows from the last two.
    """
    pool = POOL_MICRO_BATCHES * micro_batch_size
    pools = [rows[start : start + pool] for start in range(0, len(rows), pool)]
    alike = [part[np.argsort(aspects[part], kind="stable")] for part in pools]
    groups = np.concatenate(alike).reshape(-1, micro_batch_size)
    return np.random.default_rng([seed, epoch, GROUPING]).permutation(groups).reshape(-1)


def occurrences(rows: Order) -> NDArray[np.int64]:
    """For each place, how often its row came before: ``[7, 3, 7, 7]`` gives ``[0, 0, 1, 2]``."""
    by_row = np.argsort(rows, kind="stable")
    _, firsts, counts = np.unique(rows[by_row], return_index=True, return_counts=True)
    found = np.empty(len(rows), np.int64)
    found[by_row] = np.arange(len(rows)) - np.repeat(firsts, counts)
    return found


@dataclass(frozen=True)
class BatchPlan:
    """How the images of an optimizer step are shared out.

    Attributes:
        batch_size: images per optimizer step, over all processes.
        micro_batch_size: images per forward pass of one process, at most; see `pass_size`.
        seed: of the run.
        rank, world_size: of this process.

    Raises:
        UserError: a process's share of the step is not whole, or not whole micro-batches.
    """

    batch_size: int
    micro_batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.pass_size * self.world_size):
            raise UserError(
                f"optim.batch_size {self.batch_size} cannot be shared out as micro-batches of "
                f"{self.pass_size} on {quantity(self.world_size, 'process')}; make it a multiple of "
                f"{self.pass_size * self.world_size}"
            )

    @property
    def pass_size(self) -> int:
        """Images per forward pass: a process with a share below ``micro_batch_size`` takes it in one pass."""
        return min(self.micro_batch_size, max(1, self.share))

    @property
    def share(self) -> int:
        """Images of one process in one optimizer step."""
        return self.batch_size // self.world_size


class TrainingSampler(Sampler[list[Any]]):
    """Micro-batches of keys for the optimizer steps of one epoch after another, and where in them a run is.

    Iterating yields the rest of the current epoch, for this process, and then moves on to the next.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.epoch, self.step = 0, 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        raise NotImplementedError

    @property
    def micro_batches_per_step(self) -> int:
        """Forward passes of one process in one optimizer step."""
        return self.plan.share // self.plan.pass_size

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Make the next iteration start at optimizer step ``step`` of ``epoch``, both counted from 0."""
        self.epoch, self.step = epoch, step

    def state(self, step: int) -> dict[str, Any]:
        """What spares finding the place behind ``step`` steps of the run; here the order tells it."""
        return {}

    def restore(self, state: Mapping[str, Any], step: int) -> str | None:
        """Take over the ``state(step)`` of all processes, as many as there were; what is to be said of it."""
        return None

    def __len__(self) -> int:
        """Micro-batches that are left in the current epoch, on this process."""
        return max(0, self.steps_per_epoch - self.step) * self.micro_batches_per_step

    def _in_micro_batches(self, mine: list[Any]) -> Iterator[list[Any]]:
        for start in range(0, len(mine), self.plan.pass_size):
            yield mine[start : start + self.plan.pass_size]


class StepSampler(TrainingSampler):
    """Micro-batches of (epoch, row) keys such that an optimizer step sees the same images however it is cut.

    Each epoch is a fresh seeded permutation; each optimizer step takes the next ``batch_size`` of it, and a
    last incomplete step is left out. With fewer samples than ``batch_size`` an epoch is one step, in which
    samples repeat. Of a step, sample k goes to process ``k % world_size``; where images of like shape go
    together, every process takes its share in one piece.

    Args:
        num_samples: rows in the split.
        plan: of this process.
        factors: ``[rows]``, how often an epoch shows each row; None: once.
        aspects: ``[rows]``, height / width of the images, to put like shapes into one micro-batch; which
            images make up a step then depends on ``micro_batch_size``, still not on the processes. None:
            no matter.

    Raises:
        UserError: no samples.
    """

    def __init__(
        self,
        num_samples: int,
        plan: BatchPlan,
        factors: NDArray[np.float64] | None = None,
        aspects: NDArray[np.float64] | None = None,
    ) -> None:
        if num_samples < 1:
            raise UserError("the training split has no image")
        super().__init__(plan)
        self.num_samples, self.factors, self.aspects = num_samples, factors, aspects

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        rows = self.num_samples if self.factors is None else repeated_length(self.factors)
        return max(1, rows // self.plan.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, first = self.epoch, self.step
        keys = self._keys(epoch)
        for step in np.arange(len(keys)).reshape(-1, self.plan.batch_size)[first:]:
            yield from self._in_micro_batches([keys[place] for place in self._share(step)])
        self.set_position(epoch + 1)

    def _keys(self, epoch: int) -> list[Key]:
        """The samples of an epoch; a row shown again is numbered, so that it is augmented anew."""
        rows = self._order(epoch)
        if self.factors is None:
            return [(epoch, int(row)) for row in rows]
        copies = occurrences(rows)
        return [(epoch, int(row), int(copy)) for row, copy in zip(rows, copies, strict=True)]

    def _order(self, epoch: int) -> Order:
        """The rows of all steps of an epoch, over all processes."""
        if self.factors is None:
            rows = np.random.default_rng([self.plan.seed, epoch]).permutation(self.num_samples)
        else:
            rows = repeated(self.factors, self.plan.seed, epoch)
        rows = rows[np.arange(self.steps_per_epoch * self.plan.batch_size) % len(rows)]
        if self.aspects is None:
            return rows
        return grouped(rows, self.aspects, self.plan.micro_batch_size, self.plan.seed, epoch)

    def _share(self, whole: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of the samples of a step."""
        if self.aspects is None:
            return whole[self.plan.rank :: self.plan.world_size]
        size = len(whole) // self.plan.world_size
        return whole[self.plan.rank * size : (self.plan.rank + 1) * size]


class EvaluationSampler(Sampler[list[Key]]):
    """Every row once, in batches of rows of one size, so that nothing is padded.

    Batches go round the processes in turn, so their number may differ by one; the windows of one image stay
    together, in batches of their own.

    Args:
        sizes_hw: height and width of every row, in order.
        batch_size: rows per forward pass.
        rank, world_size: of this process.
        images: of every row the image that it is a window of; None: rows are whole images.
    """

    def __init__(
        self,
        sizes_hw: Sequence[tuple[int, int]],
        batch_size: int,
        rank: int,
        world_size: int,
        images: Sequence[int] | None = None,
    ) -> None:
        windows = Counter(images or ())
        groups: dict[tuple[tuple[int, int], int | None], list[int]] = defaultdict(list)
        for row, size_hw in enumerate(sizes_hw):
            image = None if images is None or windows[images[row]] == 1 else images[row]
            groups[size_hw, image].append(row)
        shares: list[list[list[Key]]] = []  # batches that one process must have together
        for (_, image), rows in groups.items():
            batches: list[list[Key]] = [
                [(0, row) for row in rows[start : start + batch_size]]
                for start in range(0, len(rows), batch_size)
            ]
            shares += [[batch] for batch in batches] if image is None else [batches]
        self._mine = [batch for share in shares[rank::world_size] for batch in share]

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self._mine)
