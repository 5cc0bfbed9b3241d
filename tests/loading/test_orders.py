"""Orders of an epoch: rare rows as often as they should, like shapes together, nothing lost on the way."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from detr_hf.loading.orders import grouped, occurrences, repeated, repeated_length, shuffled
from detr_hf.loading.samplers import BatchPlan, StepSampler

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
    aspects, rows = mixed_aspects(400), shuffled(400, 1, 0)
    found = grouped(rows, aspects, 4, 1, 0)
    assert sorted(found) == list(range(400))
    groups = aspects[found].reshape(-1, 4)
    mixed = (groups.min(1) != groups.max(1)).sum()
    assert mixed <= 2 * 4  # at most two borders between three shapes in each of four pools
    by_chance = aspects[rows].reshape(-1, 4)
    assert (by_chance.min(1) != by_chance.max(1)).sum() > 80


def test_groups_come_in_random_order_and_differ_between_epochs() -> None:
    aspects = mixed_aspects(400)
    first, second = (grouped(shuffled(400, 1, epoch), aspects, 4, 1, epoch) for epoch in (0, 1))
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
