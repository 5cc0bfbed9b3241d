"""Where the rows of a data set come from, and by which keys they are asked for.

A key names one row at one moment of a run; each source has keys of its own kind. ``entropy`` gives the
numbers that, beside the seed of the run, decide all that is random in the sample of a key.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import datasets
import numpy as np

Row = dict[str, Any]
"""A row with the columns of :class:`detr_hf.data.bundle.DataBundle`, its images undecoded."""

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, row), or (epoch, row, copy) where an epoch shows rows more than once."""

FOLLOWERS = 3
"""So many rows of a stream may take the place of one that cannot be loaded: those that follow it."""

Check = Callable[[Row, int], Row]
"""A raw row and its place to one with the columns of a `DataBundle`, or UserError with what is wrong."""


class TableRows:
    """The rows of a split that is there as a whole; the keys are :data:`Key`."""

    def __init__(self, split: datasets.Dataset) -> None:
        self.table = undecoded(split)
        self.is_panoptic = "panoptic" in split.column_names

    def __len__(self) -> int:
        return len(self.table)

    def row(self, key: Key) -> Row:
        return self.table[key[1]]

    def entropy(self, key: Key) -> tuple[int, ...]:
        """The whole key, so that each epoch and each copy is augmented anew."""
        return key

    def replacement_keys(self, key: Key, count: int, rng: np.random.Generator) -> list[Key]:
        """So many others that may be shown in its place, drawn from the whole split."""
        return [(key[0], row) for row in rng.integers(len(self), size=count).tolist()]

    def preview_keys(self, count: int) -> list[Key]:
        """At most ``count`` rows of epoch 0, spread evenly over the split."""
        rows = np.unique(np.linspace(0, len(self) - 1, num=min(count, len(self))).round().astype(int))
        return [(0, row) for row in rows.tolist()]


class StreamKey(NamedTuple):
    """A row on its way to a loading process.

    ``place`` counts the rows of the run over all processes; what is random in a sample follows from it.
    """

    epoch: int
    place: int
    row: Row
    followers: tuple[StreamKey, ...] = ()


class StreamRows:
    """The rows of a stream as samples need them: the keys carry them undecoded, so nothing is looked up.

    Args:
        stream: of undecoded rows.
        check: can be pickled.
        epoch_images: images that count as an epoch.
        is_panoptic: whether checked rows have a ``panoptic`` PNG.
    """

    def __init__(
        self, stream: datasets.IterableDataset, check: Check, epoch_images: int, is_panoptic: bool
    ) -> None:
        self.stream, self.is_panoptic = stream, is_panoptic
        self._check, self._epoch_images = check, epoch_images

    def __len__(self) -> int:
        return self._epoch_images

    def row(self, key: StreamKey) -> Row:
        """Checked and repaired. Raises UserError: it has a fault; the image is named."""
        return self._check(key.row, key.place)

    def entropy(self, key: StreamKey) -> tuple[int, ...]:
        """The place in the run: an image is augmented anew each time it is shown."""
        return (key.place,)

    def replacement_keys(self, key: StreamKey, count: int, rng: np.random.Generator) -> list[StreamKey]:
        """At most so many of those that follow it, where the sampler sent them along."""
        return list(key.followers[:count])

    def preview_keys(self, count: int) -> list[StreamKey]:
        """The first rows of the stream as it lies there, at most ``count``, each with those that follow."""
        rows = islice(self.stream, count + FOLLOWERS)
        keys = [StreamKey(0, place, row) for place, row in enumerate(rows)]
        followers = [tuple(keys[at : at + FOLLOWERS]) for at in range(1, count + 1)]
        return [key._replace(followers=after) for key, after in zip(keys[:count], followers, strict=False)]


Rows = TableRows | StreamRows


def undecoded(split: datasets.Dataset) -> datasets.Dataset:
    """The split with images as files or bytes: our own decoding names the file in its messages."""
    for column, kind in split.features.items():
        if isinstance(kind, datasets.Image):
            split = split.cast_column(column, datasets.Image(decode=False))
    return split
