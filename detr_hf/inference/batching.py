"""Pictures of one size into batches, and results back into order, holding few of either at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from detr_hf.loading.collate import Target
from detr_hf.modeling.predictions import Prediction

Sample = tuple[Tensor, Target]

WAITING = 2
"""A picture waits for others of its size until so many batches of pictures have come after it."""


def batches_of(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Up to ``batch_size`` samples of equal size at a time; their ``image_id`` must count from 0.

    Nothing needs padding then, so that no result depends on its neighbors.
    """
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        size_hw = sample[1]["size_hw"]
        group = groups.setdefault(size_hw, [])
        group.append(sample)
        if len(group) == batch_size:
            yield groups.pop(size_hw)
        oldest = next(iter(groups.values()), None)
        if oldest and sample[1]["image_id"] - oldest[0][1]["image_id"] + 1 >= WAITING * batch_size:
            yield groups.pop(oldest[0][1]["size_hw"])
    yield from groups.values()


def in_order(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Predictions whose ``image_id`` count from 0, by that number."""
    done: dict[int, Prediction] = {}
    due = 0
    for prediction in predictions:
        done[prediction.image_id] = prediction
        while due in done:
            yield done.pop(due)
            due += 1
