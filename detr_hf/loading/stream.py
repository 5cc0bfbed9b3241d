"""A streamed data set: its rows as a shuffled sequence without an end, and the order of its samples.

Order and position are those of `datasets`: `IterableDataset.shuffle` and `set_epoch` shuffle the files,
`split_dataset_by_node` shares them out, `state_dict` finds a row again.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import Any
from weakref import WeakSet

import datasets
import numpy as np
from datasets.distributed import split_dataset_by_node

from detr_hf.errors import UserError, quantity
from detr_hf.loading.rows import Row, StreamKey
from detr_hf.loading.samplers import BatchPlan, TrainingSampler

MANY_FILES = 8
"""With so many files a process, one more or less is of no account."""

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


class StreamSampler(TrainingSampler):
    """Micro-batches of undecoded rows: this process reads them, the loading processes do the rest.

    A stream has no end, it begins anew: an epoch is a number of images that the recipe or the data set
    declares, and the next epoch continues where it ended. So no image is left out, every process has as many
    batches whatever the sizes of the files, and nothing has to be agreed upon.

    Args:
        stream: of undecoded rows.
        epoch_images: images that count as an epoch.
        plan: of this process.
        shuffle_buffer: rows held to be shuffled, over all processes.
        followers: so many of the rows after each are sent along with it.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        epoch_images: int,
        plan: BatchPlan,
        shuffle_buffer: int,
        followers: int = 0,
    ) -> None:
        super().__init__(plan)
        self._epoch_images, self._followers = epoch_images, followers
        buffer = max(1, shuffle_buffer // plan.world_size)
        self._stream = ShuffledStream(stream, buffer, plan.seed, plan.rank, plan.world_size)
        self._keys: Iterator[StreamKey] = iter(())
        self._reached: int | None = None  # the step of the run that ``_keys`` is at

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return max(1, self._epoch_images // self.plan.batch_size)

    def state(self, step: int) -> dict[str, Any]:
        """Where this process's stream is behind ``step`` steps of the run, by the process's rank."""
        return {str(self.plan.rank): self._stream.state(step * self.plan.share)}

    def restore(self, state: Mapping[str, Any], step: int) -> str | None:
        """Go on exactly; on another number of processes in a new order, which the remark says."""
        if not state:
            return None  # a run that starts
        if len(state) == self.plan.world_size:
            self._stream.restore(state[str(self.plan.rank)])
            return None
        next_pass = 1 + max(saved["pass"] for saved in state.values())
        self._stream.restore({"taken": step * self.plan.share, "pass": next_pass, "stream": None})
        return (
            f"data.streaming: the checkpoint was written on {quantity(len(state), 'process')} and resumed on "
            f"{self.plan.world_size}: the rest of epoch {step // self.steps_per_epoch + 1} takes its images "
            "in a new order, so it may show some again and leave others to the next epochs"
        )

    def __iter__(self) -> Iterator[list[StreamKey]]:
        epoch, before = self.epoch, self.epoch * self.steps_per_epoch
        for step in range(before + self.step, before + self.steps_per_epoch):
            if self._reached != step:  # the start, a resume, or an iteration that was given up
                self._keys = self._keys_from(step * self.plan.share)
            self._reached = None  # until the step is whole
            mine = [key._replace(epoch=epoch) for key in islice(self._keys, self.plan.share)]
            self._reached = step + 1
            yield from self._in_micro_batches(mine)
        self.set_position(epoch + 1)

    def _keys_from(self, taken: int) -> Iterator[StreamKey]:
        """Keys of this process's rows behind the first ``taken``, each with those that follow it."""
        rows = enumerate(self._stream.rows(taken), taken)
        keys = (StreamKey(0, at * self.plan.world_size + self.plan.rank, row) for at, row in rows)
        ahead = deque(islice(keys, self._followers))
        for key in keys:
            ahead.append(key)
            yield ahead.popleft()._replace(followers=tuple(ahead))
