"""In which order an epoch takes its rows: each once, rare classes more often, like shapes together.

An order follows from the seed and the epoch alone, so that a run resumes at any step and every process knows
what the others do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]

POOL_MICRO_BATCHES = 32
"""Like shapes are looked for among the images of so many micro-batches: few left-overs, still shuffled."""

REPEATING, GROUPING = 1, 2  # tell the random streams of one epoch apart


def shuffled(num_rows: int, seed: int, epoch: int) -> Order:
    """Every row once, in an order of the epoch's own."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def repeated(factors: NDArray[np.float64], seed: int, epoch: int) -> Order:
    """Row i ``factors[i]`` times on average over epochs, each time rounded up or down; shuffled.

    Systematic sampling: equally spaced marks are laid over the factors put end to end in random order, and a
    row is taken for every mark on it. Every epoch so has the same length, which a resume counts on.

    Args:
        factors: ``[rows]``, at least 1 each; see :func:`detr_hf.loading.balance.repeat_factors`.
        seed, epoch: what the order follows from.

    Returns:
        ``repeated_length(factors)`` rows.
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
    return int(factors.sum())


def grouped(rows: Order, aspects: NDArray[np.float64], micro_batch_size: int, seed: int, epoch: int) -> Order:
    """The same rows, so that each following ``micro_batch_size`` of them have about one aspect ratio.

    Rows are sorted within pools of ``POOL_MICRO_BATCHES`` micro-batches (ties stay shuffled), and the
    micro-batches shuffled over the epoch.

    Args:
        rows: an epoch in random order; a whole number of micro-batches.
        aspects: ``[all rows]``, height / width.
        micro_batch_size: images in a group.
        seed, epoch: what the order follows from.
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
