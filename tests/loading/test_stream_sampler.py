"""Steps of a stream: the same on any number of processes, in any micro-batches, after any resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest

from detr_hf.errors import UserError
from detr_hf.loading.samplers import BatchPlan
from detr_hf.loading.stream_sampler import SPARES, StreamKey, StreamSampler
from tests.loading.test_lanes import stream_of

SHARDS = (3, 9, 1, 7)


def sampler_of(
    rank: int = 0,
    world_size: int = 1,
    micro_batch_size: int = 2,
    batch_size: int = 8,
    epoch_images: int = 20,
    sizes: Sequence[int] = SHARDS,
    **more: Any,
) -> StreamSampler:
    plan = BatchPlan(batch_size, micro_batch_size, 3, rank, world_size)
    return StreamSampler(stream_of(sizes), epoch_images, plan, shuffle_buffer=8, **more)


def steps_of(sampler: StreamSampler, epochs: int = 3) -> list[list[StreamKey]]:
    """The keys of each optimizer step."""
    batches = [batch for _ in range(epochs) for batch in sampler]
    per_step = sampler.micro_batches_per_step
    return [[*chain(*batches[at : at + per_step])] for at in range(0, len(batches), per_step)]


def pictures(keys: Sequence[StreamKey]) -> list[tuple[int, int]]:
    return [(key.place, key.row["number"]) for key in keys]


def test_an_epoch_is_as_long_as_declared_and_the_next_goes_on_where_it_ended() -> None:
    sampler = sampler_of(sizes=(20,))
    assert (sampler.lanes, sampler.steps_per_epoch, len(sampler)) == (1, 2, 8)
    steps = steps_of(sampler, epochs=5)
    assert [len(step) for step in steps] == [8] * 10
    keys = [key for step in steps for key in step]
    assert [key.place for key in keys] == list(range(80))
    assert [key.epoch for key in keys] == [at // 16 for at in range(80)]
    shown = [key.row["number"] for key in keys]
    assert [sorted(shown[at : at + 20]) for at in range(0, 80, 20)] != [list(range(20))] * 4, (
        "windows are short"
    )
    assert all(3 <= shown.count(number) <= 5 for number in range(20)), "no image is left out at the border"


@pytest.mark.parametrize("sizes", [SHARDS, (20,), (6, 7, 7)])
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_a_step_holds_the_same_pictures_on_any_number_of_processes(
    world_size: int, sizes: Sequence[int]
) -> None:
    whole = steps_of(sampler_of(sizes=sizes))
    shares = [steps_of(sampler_of(rank, world_size, 1, sizes=sizes)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(whole)}
    for at, step in enumerate(whole):
        parts = [share[at] for share in shares]
        assert {len(part) for part in parts} == {8 // world_size}, "as many on every rank"
        assert sorted(pictures([*chain(*parts)])) == pictures(step), "disjoint, and nothing is lost"


def test_a_process_reads_its_own_lanes_alone() -> None:
    first, second = sampler_of(0, 2), sampler_of(1, 2)
    assert (set(first._own), set(second._own)) == ({0, 2}, {1, 3})


def test_micro_batches_cut_a_step_and_change_nothing() -> None:
    assert list(map(pictures, steps_of(sampler_of(micro_batch_size=8)))) == list(
        map(pictures, steps_of(sampler_of()))
    )


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (2, 0), (2, 1)])
def test_it_goes_on_from_any_step_with_or_without_the_saved_state(epoch: int, step: int) -> None:
    done = epoch * 2 + step
    cut = sampler_of()
    whole = list(map(pictures, steps_of(cut, 4)))
    for saved in ({}, json.loads(json.dumps(cut.state(done)))):
        resumed = sampler_of()
        resumed.restore(saved)
        resumed.set_position(epoch, step)
        assert list(map(pictures, steps_of(resumed, 4 - epoch))) == whole[done:]


def test_another_number_of_processes_goes_on_as_well() -> None:
    whole = steps_of(sampler_of(), 3)
    ranks = [sampler_of(rank, 2) for rank in (0, 1)]
    for rank in ranks:
        steps_of(rank, 2)
    alone = sampler_of()
    alone.restore(ranks[0].state(3) | ranks[1].state(3))
    alone.set_position(1, 1)
    assert list(map(pictures, steps_of(alone, 2))) == list(map(pictures, whole[3:]))


def test_what_was_read_ahead_and_given_up_is_read_again() -> None:
    sampler = sampler_of()
    whole = list(map(pictures, steps_of(sampler_of())))
    batches = iter(sampler)
    for _ in range(3):
        next(batches)
    sampler.set_position(0, 0)
    assert list(map(pictures, steps_of(sampler))) == whole


def test_rows_come_with_those_that_may_stand_in_for_them() -> None:
    plain = steps_of(sampler_of(), 4)
    with_spares = steps_of(sampler_of(with_spares=True), 4)
    assert list(map(pictures, plain)) == list(map(pictures, with_spares))
    later = {key.place: key.row for step in plain for key in step}
    assert not any(key.spares for step in plain for key in step)
    for key in with_spares[0]:
        assert [spare.place for spare in key.spares] == [key.place + 4 * n for n in range(1, SPARES + 1)]
        assert all(spare.row == later[spare.place] for spare in key.spares)


def test_a_share_that_is_not_whole_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be shared out as micro-batches of 2 on 3"):
        sampler_of(0, 3)


def test_a_set_smaller_than_a_batch_is_one_step_an_epoch() -> None:
    assert len(steps_of(sampler_of(epoch_images=3))) == 3
