"""Which pictures make up a step: the same whatever the processes and micro-batches, none twice an epoch."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.loading.samplers import (
    BatchPlan,
    EvaluationSampler,
    StepSampler,
    grouped,
    occurrences,
    repeated,
    repeated_length,
)


def steps(
    num_samples: int, world_size: int, micro: int, batch: int = 16, epoch: int = 0, seed: int = 3
) -> list[list]:
    """The sorted keys of every optimizer step of an epoch, over all processes."""
    found: list[list] = []
    for rank in range(world_size):
        sampler = StepSampler(num_samples, BatchPlan(batch, micro, seed, rank=rank, world_size=world_size))
        sampler.set_position(epoch)
        micro_batches = list(sampler)
        per_step = sampler.micro_batches_per_step
        assert len(micro_batches) == sampler.steps_per_epoch * per_step
        assert all(len(keys) == micro for keys in micro_batches)
        for step in range(sampler.steps_per_epoch):
            mine = [key for keys in micro_batches[step * per_step : (step + 1) * per_step] for key in keys]
            if rank == 0:
                found.append(mine)
            else:
                found[step] = found[step] + mine
    return [sorted(keys) for keys in found]


@pytest.mark.parametrize("num_samples", [16, 50, 5])
def test_a_step_sees_the_same_pictures_however_it_is_cut(num_samples: int) -> None:
    whole = steps(num_samples, world_size=1, micro=16)
    assert whole == steps(num_samples, 1, 4) == steps(num_samples, 2, 8) == steps(num_samples, 4, 2)
    assert all(len(keys) == 16 for keys in whole)


def test_sample_k_of_a_step_goes_to_process_k_modulo_their_number() -> None:
    ((*whole,),) = StepSampler(8, BatchPlan(8, 8, seed=1))
    shares = [
        [key for keys in StepSampler(8, BatchPlan(8, 2, seed=1, rank=rank, world_size=2)) for key in keys]
        for rank in range(2)
    ]
    assert shares == [whole[0::2], whole[1::2]]


def test_an_epoch_is_a_permutation_cut_to_whole_steps() -> None:
    found = [row for keys in steps(50, 1, 4) for _, row in keys]
    assert len(found) == 48 and len(set(found)) == 48 and set(found) <= set(range(50))


def test_epochs_and_seeds_differ_and_repeat_themselves() -> None:
    assert steps(50, 1, 4, epoch=1) == steps(50, 1, 4, epoch=1)
    rows = [
        [row for keys in steps(50, 1, 4, epoch=e, seed=s) for _, row in keys[:5]]
        for e, s in ((0, 3), (1, 3), (0, 4))
    ]
    assert rows[0] != rows[1] and rows[0] != rows[2]


def test_keys_carry_the_epoch_and_each_pass_moves_on() -> None:
    sampler = StepSampler(8, BatchPlan(4, 2, seed=0))
    passes = [[key for keys in sampler for key in keys] for _ in range(3)]
    assert [{epoch for epoch, _ in keys} for keys in passes] == [{0}, {1}, {2}]
    assert sampler.epoch == 3 and len(sampler) == 4


def test_fewer_samples_than_a_batch_are_repeated_evenly() -> None:
    ((*keys,),) = steps(3, 1, 4, batch=8)
    assert sorted(Counter(row for _, row in keys).values()) == [2, 3, 3]


def test_a_resumed_epoch_goes_on_where_it_stopped() -> None:
    full = StepSampler(50, BatchPlan(8, 2, seed=1, rank=0, world_size=2))
    full.set_position(4)
    rest = StepSampler(50, BatchPlan(8, 2, seed=1, rank=0, world_size=2))
    rest.set_position(4, step=3)
    assert len(rest) == (6 - 3) * 2
    assert list(rest) == list(full)[3 * 2 :]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size 16 .* multiple of 12"):
        StepSampler(50, BatchPlan(16, 4, seed=0, rank=0, world_size=3))
    with pytest.raises(UserError, match="no image"):
        StepSampler(0, BatchPlan(16, 4, seed=0))


def test_a_small_share_of_a_step_passes_in_one_micro_batch() -> None:
    shares = [list(StepSampler(50, BatchPlan(16, 16, seed=0, rank=rank, world_size=2))) for rank in range(2)]
    whole = list(StepSampler(50, BatchPlan(16, 16, seed=0)))
    assert [len(batch) for batch in shares[0]] == [8, 8, 8]
    assert {*shares[0][0], *shares[1][0]} == set(whole[0])


SIZES = [(4, 6), (6, 4), (4, 6), (4, 6), (5, 5), (4, 6), (6, 4)]


def test_evaluation_batches_hold_one_size_and_no_more_than_asked() -> None:
    """guards: padding, which changes what a picture scores."""
    batches = list(EvaluationSampler(SIZES, 3, 0, 1))
    assert [len({SIZES[row] for _, row in keys}) for keys in batches] == [1] * len(batches)
    assert sorted(len(keys) for keys in batches) == [1, 1, 2, 3]


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_processes_share_the_pictures_without_repeats(world_size: int) -> None:
    """guards: Accelerate repeats pictures until every process has as many."""
    shares = [
        [key for keys in EvaluationSampler(SIZES, 2, rank, world_size) for key in keys]
        for rank in range(world_size)
    ]
    assert sorted(key for share in shares for key in share) == [(0, row) for row in range(len(SIZES))]
    counts = sorted(len(EvaluationSampler(SIZES, 2, rank, world_size)) for rank in range(world_size))
    assert all(b - a <= 1 for a, b in pairwise(counts))


# ---- rare rows as often as they should, like shapes together

FACTORS = np.array([1.0, 1.0, 2.5, 1.0, 3.0, 1.5])  # 10 rows an epoch
PORTRAIT, LANDSCAPE, WIDE = 4 / 3, 3 / 4, 9 / 16


def mixed_aspects(rows: int, seed: int = 0) -> np.ndarray:
    """30 % portraits, 50 % 4:3, 20 % 16:9, in random order."""
    kinds = np.repeat([PORTRAIT, LANDSCAPE, WIDE], [rows * 3 // 10, rows // 2, rows // 5])
    return np.random.default_rng(seed).permutation(kinds)


def test_a_factor_is_rounded_up_or_down_and_met_on_average() -> None:
    epochs = [Counter(repeated(FACTORS, 7, epoch).tolist()) for epoch in range(400)]
    assert all(sum(epoch.values()) == repeated_length(FACTORS) == 10 for epoch in epochs)
    for row, factor in enumerate(FACTORS):
        shown = [epoch[row] for epoch in epochs]
        assert min(shown) == np.floor(factor) and max(shown) == np.ceil(factor)
        assert np.mean(shown) == pytest.approx(factor, abs=0.08)


def test_repeated_orders_follow_from_seed_and_epoch_alone() -> None:
    assert repeated(FACTORS, 7, 3).tolist() == repeated(FACTORS, 7, 3).tolist()
    assert repeated(FACTORS, 7, 3).tolist() != repeated(FACTORS, 7, 4).tolist()
    assert repeated(FACTORS, 7, 3).tolist() != repeated(FACTORS, 8, 3).tolist()


def test_occurrences_count_what_came_before() -> None:
    assert occurrences(np.array([7, 3, 7, 7, 3])).tolist() == [0, 0, 1, 2, 1]


def test_a_row_shown_again_is_augmented_anew() -> None:
    """guards: two equal pictures in one epoch because a sample's seed knows only epoch and row."""
    keys = [key for batch in StepSampler(6, BatchPlan(2, 1, seed=7), factors=FACTORS) for key in batch]
    assert len(keys) == len(set(keys)) == 10
    assert {key for key in keys if key[1] == 4} == {(0, 4, 0), (0, 4, 1), (0, 4, 2)}


def test_grouping_keeps_the_rows_and_puts_like_shapes_together() -> None:
    aspects, rows = mixed_aspects(400), np.random.default_rng([1, 0]).permutation(400)
    found = grouped(rows, aspects, 4, 1, 0)
    assert sorted(found) == list(range(400))
    groups = aspects[found].reshape(-1, 4)
    mixed = (groups.min(1) != groups.max(1)).sum()
    assert mixed <= 2 * 4  # at most two borders between three shapes in each of four pools
    by_chance = aspects[rows].reshape(-1, 4)
    assert (by_chance.min(1) != by_chance.max(1)).sum() > 80


def test_groups_come_in_random_order_and_differ_between_epochs() -> None:
    aspects = mixed_aspects(400)
    first, second = (
        grouped(np.random.default_rng([1, epoch]).permutation(400), aspects, 4, 1, epoch) for epoch in (0, 1)
    )
    heads = aspects[first].reshape(-1, 4)[:, 0]
    assert (np.diff(heads) != 0).sum() > 40  # not all portraits first
    company = [{frozenset(group) for group in found.reshape(-1, 4).tolist()} for found in (first, second)]
    assert len(company[0] & company[1]) < 3


def all_steps(world_size: int, micro: int = 4, epoch: int = 0, first: int = 0) -> list[list[tuple[int, ...]]]:
    """Micro-batches of every process, for batches of 16 out of 100 pictures of mixed shape."""
    found = []
    for rank in range(world_size):
        sampler = StepSampler(100, BatchPlan(16, micro, 5, rank, world_size), aspects=mixed_aspects(100))
        sampler.set_position(epoch, first)
        found.append(list(sampler))
    return found


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_grouped_steps_are_the_same_on_any_number_of_processes(world_size: int) -> None:
    """Eight processes have two pictures of a step each: half of a micro-batch, of one shape still."""
    (alone,), shared = all_steps(1), all_steps(world_size)
    assert len({len(mine) for mine in shared}) == 1
    per_step = len(shared[0]) // 6
    for step in range(6):
        mine = [batch for rank in shared for batch in rank[step * per_step : (step + 1) * per_step]]
        whole = alone[step * 4 : (step + 1) * 4]
        assert sorted(chain(*mine)) == sorted(chain(*whole))
        assert all(any(set(batch) <= set(group) for group in whole) for batch in mine)


def test_a_grouped_epoch_resumes_in_the_middle() -> None:
    for full, rest in zip(all_steps(2), all_steps(2, first=4), strict=True):
        assert full[4 * 2 :] == rest
    assert all_steps(2, epoch=1) != all_steps(2)
