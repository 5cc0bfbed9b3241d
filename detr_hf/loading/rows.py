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

from detr_hf.loading.tiles import TileTable, Tiling, tile_table

Row = dict[str, Any]
"""A row with the columns of :class:`detr_hf.data.bundle.DataBundle`, its images undecoded."""

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, row), or (epoch, row, copy) where an epoch shows rows more than once."""

FOLLOWERS = 3
"""So many rows of a stream may take the place of one that cannot be loaded: those that follow it."""

Check = Callable[[Row, int], Row]
"""A raw row and its place to one with the columns of a `DataBundle`, or UserError with what is wrong."""


class TableRows:
    """The rows of a split that is there as a whole; the keys are :data:`Key`.

    In tiles, a row is a window: that of its image with ``window`` beside its columns.

    Args:
        split: with the columns of :class:`detr_hf.data.bundle.DataBundle`.
        tiling: how its images are cut into windows; None: they are whole.
        tiles: the windows that are rows; None: all of ``tiling``.
    """

    def __init__(
        self, split: datasets.Dataset, tiling: Tiling | None = None, tiles: TileTable | None = None
    ) -> None:
        self.table = undecoded(split)
        self.is_panoptic = "panoptic" in split.column_names
        self.tiling = tiling
        self.tiles = tile_table(split, tiling) if tiling is not None and tiles is None else tiles

    def __len__(self) -> int:
        return len(self.table) if self.tiles is None else len(self.tiles)

    @property
    def num_images(self) -> int:
        """Whole images."""
        return len(self.table)

    def row(self, key: Key) -> Row:
        if self.tiles is None:
            return self.table[key[1]]
        window = tuple(self.tiles.windows[key[1]].tolist())
        return {**self.table[int(self.tiles.rows[key[1]])], "window": window}

    def keys_of(self, image: int) -> list[Key]:
        """Of all that is shown of an image of the split, in epoch 0."""
        if self.tiles is None:
            return [(0, image)]
        return [(0, tile) for tile in np.flatnonzero(self.tiles.rows == image).tolist()]

    def sizes_hw(self) -> list[tuple[int, int]]:
        """Height and width of every row."""
        if self.tiles is None:
            return list(zip(self.table["height"], self.table["width"], strict=True))
        left, top, right, bottom = self.tiles.windows.T.tolist()
        return [(b - t, r - le) for le, t, r, b in zip(left, top, right, bottom, strict=True)]

    def entropy(self, key: Key) -> tuple[int, ...]:
        """The whole key, so that each epoch and each copy is augmented anew."""
        return key

    def replacement_keys(self, key: Key, count: int, rng: np.random.Generator) -> list[Key]:
        """So many others that may be shown in its place, drawn from the whole split."""
        return [(key[0], row) for row in rng.integers(len(self), size=count).tolist()]

    def preview_keys(self, count: int) -> list[Key]:
        """At most ``count`` rows of epoch 0, spread evenly over the split; in tiles those with a thing."""
        rows = np.arange(len(self))
        if self.tiles is not None and not self.tiles.is_empty.all():
            rows = rows[~self.tiles.is_empty]
        places = np.unique(np.linspace(0, len(rows) - 1, num=min(count, len(rows))).round().astype(int))
        return [(0, row) for row in rows[places].tolist()]


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
        tiling: how images are cut; of each image one window is shown. None: they are whole.
    """

    tiles = None
    """Of a stream nobody knows the windows beforehand."""

    def __init__(
        self,
        stream: datasets.IterableDataset,
        check: Check,
        epoch_images: int,
        is_panoptic: bool,
        tiling: Tiling | None = None,
    ) -> None:
        self.stream, self.is_panoptic, self.tiling = stream, is_panoptic, tiling
        self._check, self._epoch_images = check, epoch_images

    def __len__(self) -> int:
        return self._epoch_images

    @property
    def num_images(self) -> int:
        """Images that count as an epoch."""
        return self._epoch_images

    def row(self, key: StreamKey) -> Row:
        """Checked and repaired. Raises UserError: it has a fault; the image is named.

        In tiles, with one window: which one follows from seed and place, so that an epoch counts images, each
        is decoded once for its sample, and a resume needs no more than the place.
        """
        row = self._check(key.row, key.place)
        if self.tiling is None:
            return row
        return {**row, "window": self.tiling.drawn_window(row, key.place, self.is_panoptic)}

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
