"""Work in processes: in order, little at a time, and faults come through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detr_hf.data.workers import AHEAD, CHUNK, FEW, in_order
from detr_hf.errors import UserError


def square(number: int) -> int:
    if number < 0:
        raise UserError(f"{number} is negative")
    return number * number


def counted(upto: int, taken: list[int]) -> Iterator[int]:
    for number in range(upto):
        taken.append(number)
        yield number


def test_one_process_takes_one_item_at_a_time() -> None:
    taken: list[int] = []
    results = in_order(square, counted(100, taken), 1)
    assert [next(results), next(results)] == [0, 1]
    assert taken == [0, 1]


def test_few_items_are_not_worth_a_process() -> None:
    assert list(in_order(lambda number: number + 1, [1, 2], 2)) == [2, 3], (
        "what is here need not be picklable"
    )


def test_two_processes_keep_the_order_and_never_run_far_ahead() -> None:
    """Guards: `Executor.map` takes all items at once, so memory grows with their number."""
    taken: list[int] = []
    many = 20 * AHEAD * CHUNK
    results = in_order(square, counted(many, taken), 2)
    assert next(results) == 0
    assert len(taken) <= 2 * AHEAD * CHUNK + FEW
    assert list(results) == [number * number for number in range(1, many)]
    with pytest.raises(UserError, match="-1 is negative"):
        list(in_order(square, [*range(FEW), -1], 2))
