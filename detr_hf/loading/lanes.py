"""A streamed data set as an endless, shuffled and repeatable sequence of rows.

Its shards (files) are dealt to a few lanes, anew in every pass through the set, and a lane reads its shards
one after the other. Lanes follow from the data set and the recipe, never from the processes, so that a
training step holds the same rows however many processes share it; each process reads only the lanes it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import datasets
import numpy as np
from datasets.distributed import split_dataset_by_node

from detr_hf.errors import UserError

Row = dict[str, Any]
Position = tuple[int, int, int]
"""Pass, shard among the lane's of that pass, rows of that shard that were read."""

START: Position = (0, 0, 0)
DEALING, MIXING = 1, 2  # tell the random streams apart

MOST_LANES = 16
"""Each keeps a file open, and of Parquet a group of rows in memory."""

ENOUGH_SHARDS = 8
"""So many shards a lane make one more or less of no account."""


def number_of_lanes(num_shards: int, batch_size: int) -> int:
    """As many as share out both the images of a step and the shards evenly, or the shards nearly so."""

    def is_fair(lanes: int) -> bool:
        return num_shards % lanes == 0 or num_shards >= ENOUGH_SHARDS * lanes

    return max(n for n in range(1, MOST_LANES + 1) if batch_size % n == 0 and is_fair(n))


class Lane:
    """One lane of a stream.

    Rows are shuffled within windows: one window is given away in random order while the next one is read, a
    row for a row. Unlike those of a rolling buffer, the contents of a window follow from where it begins, so
    going on inside the stream takes no more than to read one window again.

    Args:
        stream: of undecoded rows.
        lane, lanes: which one of how many.
        window: rows that are shuffled together, and so held in memory.
        seed: of the run; the order follows from it.
        marks: where windows known from a checkpoint begin, by their number.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        lane: int,
        lanes: int,
        window: int,
        seed: int,
        marks: Mapping[int, Position] | None = None,
    ) -> None:
        self._stream, self._lane, self._lanes, self.window, self._seed = stream, lane, lanes, window, seed
        self._marks: dict[int, Position] = {0: START, **(marks or {})}

    def rows(self, taken: int) -> Iterator[Row]:
        """The rows behind the first ``taken`` ones, without an end.

        Raises:
            UserError: while iterating: the stream cannot be read, or holds nothing.
        """
        first = max(number for number in self._marks if number * self.window <= taken)
        return islice(self._shuffled(first), taken - first * self.window, None)

    def mark(self, taken: int) -> tuple[int, Position]:
        """The number and the beginning of the window that row ``taken`` lies in; older ones are forgotten."""
        number = max(number for number in self._marks if number * self.window <= taken)
        self._marks = {n: place for n, place in self._marks.items() if n == 0 or n >= number}
        return number, self._marks[number]

    def _shuffled(self, number: int) -> Iterator[Row]:
        source = self._read(self._marks[number])
        held = [next(source) for _ in range(self.window)]
        while True:
            self._marks[number + 1], _ = held[-1]
            coming = []
            for place in np.random.default_rng([self._seed, MIXING, self._lane, number]).permutation(
                len(held)
            ):
                coming.append(next(source))
                yield held[place][1]
                held[place] = (START, {})  # let go of the picture
            held, number = coming, number + 1

    def _read(self, position: Position) -> Iterator[tuple[Position, Row]]:
        """Rows in the order of the files, pass after pass, each with the position behind it."""
        turn, shard, done = position
        while True:
            mine = self._shards(turn)
            is_whole_pass, found = (shard, done) == (0, 0), 0
            for at in range(shard, len(mine)):
                for row in islice(self._rows_of(mine[at]), done, None):
                    done, found = done + 1, found + 1
                    yield (turn, at, done), row
                done = 0
            if is_whole_pass and not found:
                raise UserError("data.dataset: no row in the files of a whole pass; take the empty files out")
            turn, shard = turn + 1, 0

    def _shards(self, turn: int) -> list[int]:
        """This lane's shards of one pass."""
        order = np.random.default_rng([self._seed, DEALING, turn]).permutation(self._stream.num_shards)
        return order[self._lane :: self._lanes].tolist()

    def _rows_of(self, shard: int) -> Iterator[Row]:
        part = split_dataset_by_node(self._stream, rank=shard, world_size=self._stream.num_shards)
        try:
            yield from part
        except Exception as failure:  # network, format, disk: the message of the library says which
            raise UserError(
                f"data.dataset: reading the stream failed ({type(failure).__name__}: {failure}); "
                "the same command goes on from the last checkpoint"
            ) from failure
