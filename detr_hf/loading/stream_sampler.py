"""Which rows of a stream make up each optimizer step, on each process, in each micro-batch."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import datasets

from detr_hf.loading.lanes import Lane, Row, number_of_lanes
from detr_hf.loading.samplers import BatchPlan, TrainingSampler

SPARES = 3
"""So many may take the place of one that cannot be loaded: those that follow it in its lane."""


class StreamKey(NamedTuple):
    """A row on its way to a loading process.

    ``place`` counts the rows of the run over all processes; what is random in a sample follows from it.
    """

    epoch: int
    place: int
    row: Row
    spares: tuple[StreamKey, ...] = ()


class StreamSampler(TrainingSampler):
    """Micro-batches of undecoded rows such that an optimizer step sees the same pictures however it is cut.

    A stream has no end, it begins anew: an epoch is a number of pictures that the recipe or the data set
    declares, and the next epoch goes on where it ended. So no picture is left out, every process has as many
    batches whatever the sizes of the files, and nothing has to be agreed upon.

    Slot k of a step is filled from lane ``k % lanes`` and belongs to process ``k % world_size``. Iterating
    yields the rest of the current epoch, for this process, and then moves on to the next.

    Args:
        stream: of undecoded rows.
        epoch_images: pictures that count as an epoch.
        plan: of this process.
        shuffle_buffer: rows held to be shuffled, over all lanes.
        with_spares: hand over what may stand in for a sample.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        epoch_images: int,
        plan: BatchPlan,
        shuffle_buffer: int,
        with_spares: bool = False,
    ) -> None:
        super().__init__(plan)
        batch_size, rank, world_size = plan.batch_size, plan.rank, plan.world_size
        self._epoch_images = epoch_images
        self.lanes = number_of_lanes(stream.num_shards, batch_size)
        self._stream, self._spares = stream, SPARES if with_spares else 0
        self._window = max(1, shuffle_buffer // self.lanes)
        needed = {slot % self.lanes for slot in range(rank, batch_size, world_size)}
        self._own = {lane: self._lane(lane) for lane in sorted(needed)}
        self._rows: dict[int, Iterator[tuple[Row, ...]]] = {}
        weakref.finalize(self, self._rows.clear)  # open files are let go of before the interpreter ends
        self._reached: int | None = None  # the step of the run that the open lanes are at

    def _lane(self, lane: int, marks: Mapping[int, Any] | None = None) -> Lane:
        return Lane(self._stream, lane, self.lanes, self._window, self.plan.seed, marks)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return max(1, self._epoch_images // self.plan.batch_size)

    def state(self, step: int) -> dict[str, Any]:
        """What saves reading a stream from its start again to go on behind ``step`` steps of the run.

        It is of this process's lanes; those of all processes together are what `restore` takes. The order
        does not depend on it.
        """
        return {str(lane): own.mark(self._taken(step)) for lane, own in self._own.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the ``state()`` of all processes, as many as there were."""
        for lane in self._own:
            if str(lane) in state:
                number, position = state[str(lane)]
                self._own[lane] = self._lane(lane, {int(number): tuple(position)})

    def _taken(self, step: int) -> int:
        """Rows of each lane that so many steps take."""
        return step * (self.plan.batch_size // self.lanes)

    def __iter__(self) -> Iterator[list[StreamKey]]:
        epoch = self.epoch
        for step in range(epoch * self.steps_per_epoch + self.step, (epoch + 1) * self.steps_per_epoch):
            yield from self._in_micro_batches(self._keys(epoch, step))
        self.set_position(epoch + 1)

    def _keys(self, epoch: int, step: int) -> list[StreamKey]:
        """This process's rows of one step of the run."""
        if self._reached != step:
            for lane, own in self._own.items():
                self._rows[lane] = _with_followers(own.rows(self._taken(step)), self._spares)
        self._reached = None  # until the step is whole
        keys = []
        for slot in range(self.plan.batch_size):
            if slot % self.lanes in self._rows:
                row, *followers = next(self._rows[slot % self.lanes])
                if slot % self.plan.world_size == self.plan.rank:
                    place = step * self.plan.batch_size + slot
                    places = range(place + self.lanes, place + self.lanes * (self._spares + 1), self.lanes)
                    spares = (StreamKey(epoch, *found) for found in zip(places, followers, strict=True))
                    keys.append(StreamKey(epoch, place, row, tuple(spares)))
        self._reached = step + 1
        return keys


def _with_followers(rows: Iterator[Row], count: int) -> Iterator[tuple[Row, ...]]:
    """Each row with the ``count`` rows after it."""
    seen = deque(islice(rows, count), maxlen=count + 1)
    for row in rows:
        seen.append(row)
        yield tuple(seen)
