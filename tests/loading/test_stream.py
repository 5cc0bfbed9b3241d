"""A stream as an endless order: nothing lost, nothing left to chance, any place of it found again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from detr_hf.errors import UserError, quantity
from detr_hf.loading.rows import FOLLOWERS, StreamKey
from detr_hf.loading.samplers import BatchPlan
from detr_hf.loading.stream import ShuffledStream, StreamSampler

UNEVEN = (3, 9, 1, 7)


def numbers_of(shards: list[range]) -> Iterator[dict[str, int]]:
    for shard in shards:
        yield from ({"number": number} for number in shard)


def stream_of(sizes: Sequence[int] = UNEVEN) -> datasets.IterableDataset:
    """A stream of the numbers from 0, in files of these sizes."""
    ends = np.cumsum(sizes).tolist()
    shards = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return datasets.IterableDataset.from_generator(numbers_of, gen_kwargs={"shards": shards})


def shuffled(
    buffer: int = 4, seed: int = 5, sizes: Sequence[int] = UNEVEN, rank: int = 0, world_size: int = 1
) -> ShuffledStream:
    return ShuffledStream(stream_of(sizes), buffer, seed, rank, world_size)


def first(stream: ShuffledStream, count: int, taken: int = 0) -> list[int]:
    return [row["number"] for row in islice(stream.rows(taken), count)]


def test_a_buffer_as_large_as_the_set_shows_everything_once_in_every_pass() -> None:
    passes = np.array(first(shuffled(buffer=20), 60)).reshape(3, 20)
    assert [sorted(found) for found in passes.tolist()] == [list(range(20))] * 3
    assert len({tuple(found) for found in passes.tolist()}) == 3


def test_buffers_change_the_order_and_not_what_is_shown() -> None:
    for buffer in (1, 4, 7):
        shown = Counter(first(shuffled(buffer), 20 * 7))
        assert set(shown) == set(range(20)) and max(shown.values()) - min(shown.values()) <= 2


def test_a_buffer_of_one_reads_whole_files_in_random_order() -> None:
    passes = np.array(first(shuffled(buffer=1), 100)).reshape(5, 20)
    assert len({tuple(order) for order in passes.tolist()}) > 2, "every pass has an order of its own"
    for order in passes:
        ends = np.flatnonzero(np.diff(order) != 1) + 1
        assert len(ends) <= len(UNEVEN) - 1 and sorted(order) == list(range(20))


@pytest.mark.parametrize("sizes", [UNEVEN, (20,), (6, 7, 7), (10, 10), (2,) * 10])
@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_out_a_pass_also_with_fewer_files_than_processes(
    world_size: int, sizes: Sequence[int]
) -> None:
    shares = [first(shuffled(1, sizes=sizes, rank=r, world_size=world_size), 1500) for r in range(world_size)]
    assert not set(shares[0][:3]) & set(shares[1][:3]), "no image twice at once"
    shown = Counter(chain(*shares))
    assert set(shown) == set(range(20))
    assert max(shown.values()) < 1.2 * min(shown.values()), "also those of the file with one row"


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("buffer", [1, 4, 50])
def test_the_order_goes_on_from_any_place_with_or_without_the_state(
    buffer: int, rank: int, world_size: int
) -> None:
    cut = shuffled(buffer, rank=rank, world_size=world_size)
    whole = first(cut, 70)
    for taken in (0, 1, 4, 19, 20, 33, 57):
        fresh, resumed = (shuffled(buffer, rank=rank, world_size=world_size) for _ in range(2))
        resumed.restore(json.loads(json.dumps(cut.state(taken))))
        for stream in (cut, fresh, resumed):
            assert first(stream, 10, taken) == whole[taken : taken + 10]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_parquet_files_are_gone_on_with_inside_a_group_of_rows(world_size: int, tmp_path: Path) -> None:
    """Whole files or single images a process; Arrow tables have another state than single rows."""
    for at, size in enumerate((5, 9, 6)):
        numbers = datasets.Dataset.from_dict({"number": list(range(10 * at, 10 * at + size))})
        numbers.to_parquet(tmp_path / f"{at}.parquet", batch_size=4)
    files = [str(path) for path in sorted(tmp_path.glob("*.parquet"))]

    def stream(rank: int) -> ShuffledStream:
        rows = datasets.IterableDataset.from_parquet(files)
        return ShuffledStream(rows, 3, 5, rank, world_size)

    for rank in range(world_size):
        cut = stream(rank)
        whole = first(cut, 45)
        for taken in range(0, 40, 3):
            resumed = stream(rank)
            resumed.restore(json.loads(json.dumps(cut.state(taken))))
            assert first(resumed, 5, taken) == whole[taken : taken + 5]


def test_a_state_saves_reading_from_the_start() -> None:
    read: list[int] = []

    def counted(shards: list[range]) -> Iterator[dict[str, int]]:
        for row in numbers_of(shards):
            read.append(row["number"])
            yield row

    shards = [range(at, at + 5) for at in range(0, 1000, 5)]
    streams = [
        ShuffledStream(datasets.IterableDataset.from_generator(counted, gen_kwargs={"shards": shards}), 6, 5)
        for _ in range(2)
    ]
    whole = first(streams[0], 900)
    state = streams[0].state(843)
    assert (state["taken"], state["pass"]) == (840, 0), "where the buffer begins that row 843 lies in"
    streams[1].restore(state)
    read.clear()
    assert first(streams[1], 10, 843) == whole[843:853]
    assert len(read) <= 5 + 2 * 6 + 10, "a file, two buffers and what was asked for"


def test_another_seed_is_another_order() -> None:
    assert first(shuffled(seed=5), 20) != first(shuffled(seed=6), 20)


def test_empty_files_are_passed_over_and_an_empty_set_is_refused() -> None:
    assert sorted(first(shuffled(3, sizes=(0, 3, 0)), 3)) == [0, 1, 2]
    with pytest.raises(UserError, match="no row in the files of a whole pass"):
        first(shuffled(sizes=(0, 0)), 1)
    with pytest.raises(UserError, match="no row in the files of a whole pass"):
        list(chain(*(first(shuffled(sizes=(0, 3), rank=r, world_size=2), 9) for r in range(2))))


def test_a_failure_to_read_keeps_the_words_of_the_library() -> None:
    def broken(shards: list[int]) -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise ConnectionError("no route to host")

    stream = datasets.IterableDataset.from_generator(broken, gen_kwargs={"shards": [0]})
    with pytest.raises(UserError, match=r"reading the stream failed \(ConnectionError: no route to host\)"):
        first(ShuffledStream(stream, 2, seed=0), 2)


# ---- the steps of a run


def sampler_of(
    plan: BatchPlan | None = None, epoch_images: int = 20, sizes: Sequence[int] = UNEVEN, followers: int = 0
) -> StreamSampler:
    plan = plan or BatchPlan(8, 2, seed=3)
    return StreamSampler(stream_of(sizes), epoch_images, plan, shuffle_buffer=8, followers=followers)


def steps_of(sampler: StreamSampler, epochs: int = 3) -> list[list[StreamKey]]:
    """The keys of each optimizer step."""
    batches = [batch for _ in range(epochs) for batch in sampler]
    per_step = sampler.micro_batches_per_step
    return [[*chain(*batches[at : at + per_step])] for at in range(0, len(batches), per_step)]


def images_of(steps: Sequence[Sequence[StreamKey]]) -> list[list[tuple[int, int]]]:
    return [[(key.place, key.row["number"]) for key in step] for step in steps]


def test_an_epoch_is_as_long_as_declared_and_the_next_goes_on_where_it_ended() -> None:
    sampler = sampler_of(sizes=(20,))
    assert (sampler.steps_per_epoch, len(sampler)) == (2, 8)
    steps = steps_of(sampler, epochs=5)
    assert [len(step) for step in steps] == [8] * 10
    keys = [key for step in steps for key in step]
    assert [key.place for key in keys] == list(range(80))
    assert [key.epoch for key in keys] == [at // 16 for at in range(80)]
    shown = [key.row["number"] for key in keys]
    assert [sorted(shown[at : at + 20]) for at in range(0, 80, 20)] != [list(range(20))] * 4, (
        "buffers are short"
    )
    assert all(3 <= shown.count(number) <= 5 for number in range(20)), "no image is left out at the border"


@pytest.mark.parametrize("sizes", [UNEVEN, (20,), (6, 7, 7)])
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_every_process_has_as_many_batches_and_places_of_its_own(
    world_size: int, sizes: Sequence[int]
) -> None:
    shares = [
        steps_of(sampler_of(BatchPlan(8, 1, 3, rank, world_size), sizes=sizes)) for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {6}
    for at in range(6):
        parts = [share[at] for share in shares]
        assert {len(part) for part in parts} == {8 // world_size}
        assert sorted(key.place for part in parts for key in part) == list(range(8 * at, 8 * at + 8))


def test_micro_batches_cut_a_step_and_change_nothing() -> None:
    whole = sampler_of(BatchPlan(8, 8, seed=3))
    assert images_of(steps_of(whole)) == images_of(steps_of(sampler_of()))


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (2, 0), (2, 1)])
@pytest.mark.parametrize("followers", [0, FOLLOWERS])
def test_as_many_processes_go_on_exactly_from_any_step(
    epoch: int, step: int, world_size: int, followers: int
) -> None:
    done = epoch * 2 + step
    plans = [BatchPlan(8, 2, 3, rank, world_size) for rank in range(world_size)]
    whole = [sampler_of(plan, followers=followers) for plan in plans]
    steps = [images_of(steps_of(sampler, 4)) for sampler in whole]
    saved = json.loads(json.dumps({rank: v for s in whole for rank, v in s.state(done).items()}))
    for plan, known in zip(plans, steps, strict=True):
        resumed = sampler_of(plan, followers=followers)
        assert resumed.restore(saved, done) is None
        resumed.set_position(epoch, step)
        assert images_of(steps_of(resumed, 4 - epoch)) == known[done:]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (4, 2)])
def test_another_number_of_processes_takes_a_new_order_and_says_so(before: int, after: int) -> None:
    samplers = [sampler_of(BatchPlan(8, 1, 3, rank, before)) for rank in range(before)]
    for sampler in samplers:
        steps_of(sampler, 2)
    state = {rank: place for sampler in samplers for rank, place in sampler.state(3).items()}
    resumed = [sampler_of(BatchPlan(8, 1, 3, rank, after)) for rank in range(after)]
    for sampler in resumed:
        remark = sampler.restore(state, 3)
        assert remark is not None
        assert (
            f"written on {quantity(before, 'process')} and resumed on {after}: the rest of epoch 2 takes"
            in remark
        )
        sampler.set_position(1, 1)
    shares = [steps_of(sampler, 2) for sampler in resumed]
    places = sorted(key.place for share in shares for step in share for key in step)
    assert places == list(range(24, 48)), "the steps that were left, each with images of its own"
    assert all(sampler.state(6)[str(sampler.plan.rank)]["pass"] > 0 for sampler in resumed)
    again = sampler_of(resumed[0].plan)
    again.restore(state, 3)
    again.set_position(1, 1)
    assert images_of(steps_of(again, 2)) == images_of(shares[0]), "the new order is repeatable, too"


def test_what_was_read_ahead_and_given_up_is_read_again() -> None:
    sampler, whole = sampler_of(), images_of(steps_of(sampler_of()))
    batches = iter(sampler)
    for _ in range(3):
        next(batches)
    sampler.set_position(0, 0)
    assert images_of(steps_of(sampler)) == whole


@pytest.mark.parametrize("rank", [0, 1])
def test_rows_come_with_those_that_follow_them(rank: int) -> None:
    plan = BatchPlan(8, 2, 3, rank, 2)
    plain, followed = (steps_of(sampler_of(plan, followers=count), 4) for count in (0, FOLLOWERS))
    assert images_of(plain) == images_of(followed)
    later = {key.place: key.row for step in plain for key in step}
    assert not any(key.followers for step in plain for key in step)
    for key in followed[0]:
        assert [after.place for after in key.followers] == [key.place + 2 * n for n in (1, 2, 3)]
        assert all(after.row == later[after.place] for after in key.followers)


def test_a_set_smaller_than_a_batch_is_one_step_an_epoch() -> None:
    assert len(steps_of(sampler_of(epoch_images=3))) == 3


def test_reading_warns_of_nothing(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """`datasets` says that its shuffle buffer is lost when a state is loaded; it holds nothing here."""
    stream = shuffled()
    first(stream, 30)
    first(stream, 5, 25)
    assert "shuffle buffer" not in caplog.text + "".join(capfd.readouterr())
