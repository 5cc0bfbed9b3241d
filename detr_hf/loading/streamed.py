"""Rows of a stream, under keys that carry them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import datasets
import numpy as np

from detr_hf.loading.rows import Row
from detr_hf.loading.stream_sampler import SPARES, StreamKey

Check = Callable[[Row, int], Row]
"""A raw row and its place to one with the columns of a `DataBundle`, or UserError with what is wrong."""


class StreamRows:
    """The rows of a stream: the keys carry them undecoded, so nothing is looked up.

    Args:
        stream: of undecoded rows.
        check: makes them rows of our columns; can be pickled.
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
        """The row of a key, checked and repaired.

        Raises:
            UserError: it has a fault; the image is named.
        """
        return self._check(key.row, key.place)

    def entropy(self, key: StreamKey) -> tuple[int, ...]:
        """The place in the run: an image is augmented anew each time it is shown."""
        return (key.place,)

    def replacement_keys(self, key: StreamKey, count: int, rng: np.random.Generator) -> list[StreamKey]:
        """Those that follow it in its lane."""
        return list(key.spares[:count])

    def preview_keys(self, count: int) -> list[StreamKey]:
        """The first rows of the stream as it lies there, at most ``count``; the next may stand in for one."""
        rows = islice(self.stream, count + SPARES)
        keys = [StreamKey(0, place, row) for place, row in enumerate(rows)]
        spares = (tuple(keys[at : at + SPARES]) for at in range(1, count + 1))
        return [key._replace(spares=others) for key, others in zip(keys[:count], spares, strict=False)]
