"""Large images in overlapping windows: which there are, what each shows, and an image cut to one.

The grid is that of `detr-hf predict --tile`. Which windows hold a thing is judged by the boxes of the
annotations, without a look at the pixels; the truth of a window that is loaded is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from detr_hf.geometry import Window, boxes_xywh_to_xyxy, tile_windows
from detr_hf.loading.pieces import Piece, in_window, recognized
from detr_hf.recipe.data import Tiles

ROWS_AT_ONCE = 1000
OF_STREAMS = 2  # sets the choice of a window apart from what is random in the sample


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        tiles: of the recipe.
        stuff_ids: classes that are stuff; with id maps any part of it is recognized.
        seed: of the run; decides which window of a stream's image is shown.
    """

    tiles: Tiles
    stuff_ids: Sequence[int]
    seed: int = 0

    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        """Those of an image, one where it fits into one."""
        return tile_windows(size_hw, self.tiles.size, self.tiles.overlap)

    def cut(self, piece: Piece, window: Window) -> Piece:
        """A window as an image of its own; objects of which too little is seen are no part of its truth.

        What is larger than a window would never show its share: of it, the window's pixels count.
        """
        part = in_window(piece, window)
        part.image = part.image.copy()  # what transforms do to it in place must not reach the whole image
        seen_at_most = np.minimum(piece.areas, float(part.image.shape[0] * part.image.shape[1]))
        return recognized(part, seen_at_most, self.tiles.min_share, self.stuff_ids)

    def shown(
        self, windows: Sequence[Window], objects: Mapping[str, Any], is_panoptic: bool
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which objects each of K windows shows enough of, by their boxes, ``[K, N]``, and their classes.

        Args:
            windows: of one image.
            objects: of its row; crowds do not count.
            is_panoptic: whether stuff is known by any part.
        """
        single = ~np.asarray(objects["iscrowd"], bool)
        boxes = boxes_xywh_to_xyxy(np.asarray(objects["bbox"], np.float32).reshape(-1, 4))[single]
        classes = np.asarray(objects["category"], np.int64)[single]
        frames = np.asarray(windows, np.float32)
        low = np.maximum(frames[:, None, :2], boxes[None, :, :2])
        high = np.minimum(frames[:, None, 2:], boxes[None, :, 2:])
        seen = (high - low).clip(min=0).prod(-1)
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        at_most = np.minimum(whole, (frames[:, 2:] - frames[:, :2]).prod(-1)[:, None])
        needed = self.tiles.min_share * np.maximum(at_most, 1e-9)
        if is_panoptic:
            needed[:, np.isin(classes, self.stuff_ids)] = 0
        return seen > needed, classes

    def has_things(self, shows: NDArray[np.bool_], classes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each window shows a thing, ``[K]``; arguments as from ``shown``."""
        return np.any(shows[:, ~np.isin(classes, self.stuff_ids)], axis=1)

    def drawn_window(self, row: Mapping[str, Any], place: int, is_panoptic: bool) -> Window:
        """The one window of a stream's image that is shown at a place of the run.

        Windows with things are equally likely, those without by ``keep_empty`` of that. Of an image without
        any thing one of all windows is shown: its place counts in the epoch.
        """
        windows = self.windows((row["height"], row["width"]))
        shows, classes = self.shown(windows, row["objects"], is_panoptic)
        weights = np.where(self.has_things(shows, classes), 1.0, self.tiles.keep_empty)
        if not weights.any():
            weights[:] = 1.0
        rng = np.random.default_rng([self.seed, place, OF_STREAMS])
        return windows[rng.choice(len(windows), p=weights / weights.sum())]


@dataclass(frozen=True)
class TileTable:
    """The T windows of all images of a split, image by image.

    Attributes:
        rows: ``int64 [T]``, the row of the split that each is a window of.
        windows: ``int64 [T, 4]``, left, top, right, bottom.
        is_empty: ``bool [T]``, windows that show no thing; there may be stuff.
        object_tiles, object_classes: ``int64 [N]``, window and class of every object that a window shows
            enough of, judged by its box; an object counts in each of its windows.
        keep_empty: share of the empty windows that an epoch shows.
    """

    rows: NDArray[np.int64]
    windows: NDArray[np.int64]
    is_empty: NDArray[np.bool_]
    object_tiles: NDArray[np.int64]
    object_classes: NDArray[np.int64]
    keep_empty: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shown(self) -> NDArray[np.float64]:
        """``[T]``, how often an epoch shows each on average, were all classes equal."""
        return np.where(self.is_empty, self.keep_empty, 1.0)

    @property
    def aspects(self) -> NDArray[np.float64]:
        """Height / width, ``[T]``."""
        left, top, right, bottom = self.windows.T
        return (bottom - top) / (right - left)

    def without_empty(self) -> TileTable:
        """Only the windows that show a thing."""
        kept = ~self.is_empty
        of_kept, number = kept[self.object_tiles], np.cumsum(kept) - 1
        return replace(
            self,
            rows=self.rows[kept],
            windows=self.windows[kept],
            is_empty=self.is_empty[kept],
            object_tiles=number[self.object_tiles[of_kept]],
            object_classes=self.object_classes[of_kept],
        )


def tile_table(split: datasets.Dataset, tiling: Tiling) -> TileTable:
    """All windows of a split, without a look at its pixels.

    Args:
        split: with the columns of :class:`detr_hf.data.bundle.DataBundle`.
        tiling: how its images are cut.
    """
    is_panoptic = "panoptic" in split.column_names
    grids: dict[tuple[int, int], list[Window]] = {}
    rows, windows, empty, tiles, classes, count = [], [], [], [], [], 0
    for number, row in enumerate(_truth_rows(split)):
        size_hw = (row["height"], row["width"])
        grid = grids.setdefault(size_hw, tiling.windows(size_hw))
        shows, classes_of_row = tiling.shown(grid, row["objects"], is_panoptic)
        tile, which = np.nonzero(shows)
        empty.append(~tiling.has_things(shows, classes_of_row))
        rows.append(np.full(len(grid), number, np.int64))
        windows.append(np.asarray(grid, np.int64))
        tiles.append(count + tile)
        classes.append(classes_of_row[which])
        count += len(grid)
    return TileTable(
        np.concatenate([np.zeros(0, np.int64), *rows]),
        np.concatenate([np.zeros((0, 4), np.int64), *windows]),
        np.concatenate([np.zeros(0, bool), *empty]),
        np.concatenate([np.zeros(0, np.int64), *tiles]),
        np.concatenate([np.zeros(0, np.int64), *classes]),
        tiling.tiles.keep_empty,
    )


def _truth_rows(split: datasets.Dataset) -> Iterator[dict[str, Any]]:
    columns = split.select_columns(["height", "width", "objects"]).with_format("arrow")
    for batch in columns.iter(batch_size=ROWS_AT_ONCE):
        yield from batch.to_pylist()
