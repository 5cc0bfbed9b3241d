"""A stream as an endless order: nothing lost, nothing left to chance, any place of it found again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import datasets
import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.loading.lanes import Lane, number_of_lanes

UNEVEN = (3, 9, 1, 7)


def numbers_of(shards: list[range]) -> Iterator[dict[str, int]]:
    for shard in shards:
        yield from ({"number": number} for number in shard)


def stream_of(sizes: Sequence[int] = UNEVEN) -> datasets.IterableDataset:
    """A stream of the numbers from 0, in shards of these sizes."""
    ends = np.cumsum(sizes).tolist()
    shards = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return datasets.IterableDataset.from_generator(numbers_of, gen_kwargs={"shards": shards})


def lane_of(*place: int, window: int = 4, seed: int = 5, sizes: Sequence[int] = UNEVEN, **more: Any) -> Lane:
    lane, lanes = place or (0, 1)
    return Lane(stream_of(sizes), lane, lanes, window, seed, **more)


def first(lane: Lane, count: int, taken: int = 0) -> list[int]:
    return [row["number"] for row in islice(lane.rows(taken), count)]


def test_a_window_as_large_as_the_set_shows_everything_once_in_every_pass() -> None:
    passes = np.array(first(lane_of(window=20), 60)).reshape(3, 20)
    assert [sorted(found) for found in passes.tolist()] == [list(range(20))] * 3
    assert len({tuple(found) for found in passes.tolist()}) == 3


def test_windows_change_the_order_and_not_what_is_shown() -> None:
    for window in (1, 4, 7):
        shown = Counter(first(lane_of(window=window), 20 * 7))
        assert set(shown) == set(range(20)) and max(shown.values()) - min(shown.values()) <= 2


def test_a_window_of_one_reads_whole_files_in_random_order() -> None:
    order = first(lane_of(window=1), 20)
    ends = np.flatnonzero(np.diff(order) != 1) + 1
    assert len(ends) == len(UNEVEN) - 1 and sorted(order) == list(range(20))


def test_lanes_share_out_each_pass_and_every_row_is_shown_as_often_in_the_long_run() -> None:
    found = [first(lane_of(lane, 4, window=2), 1500) for lane in range(4)]
    shown = Counter(number for numbers in found for number in numbers)
    assert set(shown) == set(range(20))
    assert max(shown.values()) < 1.2 * min(shown.values()), "also those of the file with one row"


@pytest.mark.parametrize("window", [1, 4, 50])
def test_the_order_goes_on_from_any_place(window: int) -> None:
    whole = first(lane_of(window=window), 70)
    for taken in (0, 1, 4, 19, 20, 33, 57):
        assert first(lane_of(window=window), 10, taken) == whole[taken : taken + 10]


def test_a_mark_saves_reading_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(window=6)
    whole = first(lane, 80)
    number, position = lane.mark(45)
    assert (number, position[0]) == (7, 2), "the window that row 45 lies in, of the third pass"
    again = lane_of(window=6, marks={number: position})
    read: list[int] = []
    rows_of = Lane._rows_of

    def counted(self: Lane, shard: int) -> Iterator[dict[str, Any]]:
        for row in rows_of(self, shard):
            read.append(shard)
            yield row

    monkeypatch.setattr(Lane, "_rows_of", counted)
    assert first(again, 10, 45) == whole[45:55]
    assert len(read) <= 9 + 2 * 6 + 10, "a file, two windows and what was asked for"


def test_only_the_marks_that_may_be_wanted_again_are_kept() -> None:
    lane = lane_of(window=2)
    whole = first(lane, 40)
    lane.mark(30)
    assert sorted(lane._marks)[:2] == [0, 15]
    assert first(lane, 5, 3) == whole[3:8], "further back it takes reading from the start"


def test_another_seed_is_another_order() -> None:
    assert first(lane_of(seed=5), 20) != first(lane_of(seed=6), 20)


def test_empty_files_are_passed_over_and_an_empty_set_is_told() -> None:
    assert sorted(first(lane_of(window=3, sizes=(0, 3, 0)), 3)) == [0, 1, 2]
    with pytest.raises(UserError, match="no row in the files of a whole pass"):
        first(lane_of(sizes=(0, 0)), 1)


def test_a_failure_to_read_is_told_with_the_words_of_the_library() -> None:
    def broken(shards: list[int]) -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise ConnectionError("no route to host")

    stream = datasets.IterableDataset.from_generator(broken, gen_kwargs={"shards": [0]})
    with pytest.raises(UserError, match=r"reading the stream failed \(ConnectionError: no route to host\)"):
        first(Lane(stream, 0, 1, window=2, seed=0), 2)


@pytest.mark.parametrize(
    ("shards", "batch_size", "lanes"),
    [
        (4, 4, 4),
        (1, 16, 1),
        (7, 16, 1),
        (6, 16, 2),
        (64, 16, 16),
        (1000, 64, 16),
        (100, 16, 8),
        (16, 24, 8),
        (5, 1, 1),
    ],
)
def test_lanes_share_out_shards_and_steps_fairly(shards: int, batch_size: int, lanes: int) -> None:
    assert number_of_lanes(shards, batch_size) == lanes
