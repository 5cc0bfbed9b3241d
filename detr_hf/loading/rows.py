"""Where the rows of a data set come from, and by which keys they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import datasets
import numpy as np

Row = dict[str, Any]
"""A row with the columns of :class:`detr_hf.prepare.bundle.DataBundle`, its images undecoded."""

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, row), or (epoch, row, copy) where an epoch shows rows more than once."""


class Rows(Protocol):
    """A source of rows. A key names one row at one moment of a run; each source has keys of its own kind.

    Attributes:
        is_panoptic: whether rows have a ``panoptic`` PNG.
    """

    is_panoptic: bool

    def __len__(self) -> int:
        """The rows that make an epoch."""
        ...

    def row(self, key: Any) -> Row:
        """Raises UserError: the row has a fault; the image is named."""
        ...

    def entropy(self, key: Any) -> tuple[int, ...]:
        """The numbers that, beside the seed of the run, decide all that is random in the sample of a key."""
        ...

    def replacement_keys(self, key: Any, count: int, rng: np.random.Generator) -> Sequence[Any]:
        """The keys of at most ``count`` other rows that may be shown in the place of one."""
        ...

    def preview_keys(self, count: int) -> Sequence[Any]:
        """The keys of at most ``count`` rows of epoch 0."""
        ...


class TableRows:
    """The rows of a split that is there as a whole; the keys are :data:`Key`.

    Args:
        split: with the columns of :class:`detr_hf.prepare.bundle.DataBundle`.
    """

    def __init__(self, split: datasets.Dataset) -> None:
        self.table = undecoded(split)
        self.is_panoptic = "panoptic" in split.column_names

    def __len__(self) -> int:
        return len(self.table)

    def row(self, key: Key) -> Row:
        """The row of a key."""
        return self.table[key[1]]

    def entropy(self, key: Key) -> tuple[int, ...]:
        """The whole key, so that each epoch and each copy is augmented anew."""
        return key

    def replacement_keys(self, key: Key, count: int, rng: np.random.Generator) -> list[Key]:
        """So many others, drawn from the whole split."""
        return [(key[0], row) for row in rng.integers(len(self), size=count).tolist()]

    def preview_keys(self, count: int) -> list[Key]:
        """Rows of epoch 0, at most ``count``, spread evenly over the split."""
        rows = np.unique(np.linspace(0, len(self) - 1, num=min(count, len(self))).round().astype(int))
        return [(0, row) for row in rows.tolist()]


def undecoded(split: datasets.Dataset) -> datasets.Dataset:
    """The split with images as files or bytes: our own decoding names the file in its messages."""
    for column, kind in split.features.items():
        if isinstance(kind, datasets.Image):
            split = split.cast_column(column, datasets.Image(decode=False))
    return split
