"""A streamed data set: its rows as a shuffled sequence without an end, and as a source of samples.

Order and position are those of `datasets`: `IterableDataset.shuffle` and `set_epoch` shuffle the files,
`split_dataset_by_node` shares them out, `state_dict` finds a row again.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakSet

import datasets
import numpy as np
from datasets.distributed import split_dataset_by_node

from detr_hf.errors import UserError
from detr_hf.loading.rows import Row

MANY_FILES = 8
"""With so many files a process, one more or less is of no account."""

FOLLOWERS = 3
"""So many rows may take the place of one that cannot be loaded: those that follow it."""

Check = Callable[[Row, int], Row]
"""A raw row and its place to one with the columns of a `DataBundle`, or UserError with what is wrong."""

# `datasets` warns that rows of its shuffle buffer are lost; its buffer holds one row here, and none is.
logging.getLogger("datasets.iterable_dataset").addFilter(
    lambda record: "state dict of a shuffle buffer" not in record.getMessage()
)


class ShuffledStream:
    """This process's rows of a stream: shuffled, without an end, and found again at any place.

    Every pass through the set takes the files in another order. Within it, rows are shuffled in a buffer of
    our own: one buffer is given away in random order while the next one is filled, a row for a row. The
    rolling buffer of `datasets` holds rows of any age, so it cannot be restored; what ours holds follows from
    where the stream was when it began. That state and the number of rows taken are an exact position.

    Args:
        stream: of undecoded rows.
        buffer: rows of this process that are shuffled together, and so held in memory.
        seed: of the run; the order follows from it.
        rank, world_size: of this process.
    """

    def __init__(
        self, stream: datasets.IterableDataset, buffer: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        files = stream.num_shards
        is_fair = files % world_size == 0 or files >= MANY_FILES * world_size
        # Files are shuffled here and rows below; one file at a time, because `datasets` waits five seconds
        # whenever it closes several.
        shuffled = stream.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)
        self._stream = split_dataset_by_node(
            shuffled, rank, world_size, strategy="shards" if is_fair else "examples"
        )
        self._buffer, self._seed, self._rank = buffer, seed, rank
        self._starts: dict[int, tuple[int, Any]] = {0: (0, None)}  # of buffers, by the rows taken before
        self._turn = 0  # the pass that is being read
        self._reader: Generator[Row] | None = None

    def rows(self, taken: int) -> Iterator[Row]:
        """The rows behind the first ``taken`` ones, without an end; an iterator given before is closed.

        Raises:
            UserError: while iterating: the stream cannot be read, or holds nothing.
        """
        self.close()
        start = self._start_of(taken)
        self._reader = self._shuffled(start)
        _OPEN.add(self)
        return islice(self._reader, taken - start, None)

    def state(self, taken: int) -> dict[str, Any]:
        """What finds row ``taken`` again, as JSON takes it; earlier rows are then out of reach."""
        start = self._start_of(taken)
        self._starts = {at: where for at, where in self._starts.items() if at >= start}
        turn, stream = self._starts[start]
        return {"taken": start, "pass": turn, "stream": stream}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a ``state()`` of the same process among as many."""
        self._starts = {int(state["taken"]): (int(state["pass"]), state["stream"])}

    def close(self) -> None:
        """Close the files that are open."""
        if self._reader is not None:
            self._reader.close()
        _OPEN.discard(self)

    def _start_of(self, taken: int) -> int:
        return max(start for start in self._starts if start <= taken)

    def _shuffled(self, start: int) -> Generator[Row]:
        source = self._read(*self._starts[start])
        held = [next(source) for _ in range(self._buffer)]
        while True:
            order = np.random.default_rng([self._seed, self._rank, start]).permutation(self._buffer)
            start += self._buffer
            self._starts[start] = (self._turn, self._stream.state_dict())
            coming = []
            for at in order:
                coming.append(next(source))
                yield held[at]
                held[at] = {}  # let go of the image
            held = coming

    def _read(self, turn: int, state: Any) -> Iterator[Row]:
        """Rows in the order of the files, pass after pass."""
        while True:
            self._turn, is_empty = turn, state is None
            self._stream.set_epoch(turn)
            self._stream.load_state_dict(state)
            try:
                for row in self._stream:
                    is_empty = False
                    yield row
            except Exception as failure:  # network, format, disk: the message of the library says which
                raise UserError(
                    f"data.dataset: reading the stream failed ({type(failure).__name__}: {failure}); "
                    "the same command resumes from the last checkpoint"
                ) from failure
            if is_empty:
                raise UserError("data.dataset: no row in the files of a whole pass; take the empty files out")
            turn, state = turn + 1, None


_OPEN: WeakSet[ShuffledStream] = WeakSet()


@atexit.register
def _close_streams() -> None:
    """An interpreter that ends while threads of Arrow read ahead hangs (apache/arrow issue 45214)."""
    still_open = list(_OPEN)
    for stream in still_open:
        stream.close()
    if still_open:
        time.sleep(datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN)


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
        """Those that follow it, where the sampler sent them along."""
        return list(key.followers[:count])

    def preview_keys(self, count: int) -> list[StreamKey]:
        """The first rows of the stream as it lies there, at most ``count``, each with those that follow."""
        rows = islice(self.stream, count + FOLLOWERS)
        keys = [StreamKey(0, place, row) for place, row in enumerate(rows)]
        followers = [tuple(keys[at : at + FOLLOWERS]) for at in range(1, count + 1)]
        return [key._replace(followers=after) for key, after in zip(keys[:count], followers, strict=False)]
