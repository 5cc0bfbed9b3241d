"""The comparison with PyTorch sees what it must see, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from detr_hf.export.compare import Differences, compare
from detr_hf.export.graph import DetectorGraph, SegmenterGraph, graph_of
from tests.tiny_models import random_batch, tiny_detector, tiny_segmenter

Change = Callable[[list[np.ndarray]], None]


class Session:
    """PyTorch in the clothes of ONNX Runtime, with something changed in its outputs."""

    def __init__(self, graph: DetectorGraph | SegmenterGraph, change: Change):
        self.graph, self.change = graph, change

    @torch.no_grad()
    def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = [output.numpy().copy() for output in self.graph(*map(torch.from_numpy, given.values()))]
        self.change(outputs)
        return outputs


def differences(graph: DetectorGraph | SegmenterGraph, change: Change) -> Differences:
    samples = []
    for seed, size_hw in enumerate([(64, 96), (96, 80)]):
        pixels, _, targets = random_batch([1], size_hw, seed)
        samples.append((pixels[0], targets[0]))
    session: Any = Session(graph, change)
    return compare(graph, session, samples)


@pytest.fixture(scope="module")
def segmenter() -> SegmenterGraph:
    graph = graph_of(tiny_segmenter())
    assert isinstance(graph, SegmenterGraph)
    return graph


def test_the_same_is_the_same(segmenter: SegmenterGraph) -> None:
    found = differences(segmenter, lambda outputs: None)
    assert (found.passes, found.boxes, found.probabilities, found.labels, found.mask_iou) == (5, 0, 0, 0, 1)
    assert found.masks > 7 and found.within_tolerance()


def test_stage_1_has_no_masks() -> None:
    found = differences(graph_of(tiny_detector()), lambda outputs: None)
    assert (found.passes, found.masks, found.mask_iou) == (4, 0, None) and found.within_tolerance()
    assert "mask" not in str(found)


def move_a_box(outputs: list[np.ndarray]) -> None:
    outputs[1][0, 3, 2] += 2e-4


def spoil_a_number(outputs: list[np.ndarray]) -> None:
    outputs[1][-1, 0, 0] = np.nan


def prefer_another_class(outputs: list[np.ndarray]) -> None:
    outputs[0][0, 1] = np.roll(outputs[0][0, 1], 1)


def grow_the_masks(outputs: list[np.ndarray]) -> None:
    outputs[2] += 0.1


def lose_a_mask(outputs: list[np.ndarray]) -> None:
    outputs[2], outputs[3] = outputs[2][1:], outputs[3][1:]


def swap_two_masks(outputs: list[np.ndarray]) -> None:
    outputs[3][:] = outputs[3][::-1].copy()


CHANGES = [
    move_a_box,
    spoil_a_number,
    prefer_another_class,
    grow_the_masks,
    lose_a_mask,
    swap_two_masks,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_kind_of_fault_is_seen(segmenter: SegmenterGraph, change: Change) -> None:
    assert not differences(segmenter, change).within_tolerance()


def test_rounding_is_no_fault(segmenter: SegmenterGraph) -> None:
    def rounding(outputs: list[np.ndarray]) -> None:
        for output in outputs[:3]:
            output += 3e-6

    found = differences(segmenter, rounding)
    assert found.within_tolerance() and found.boxes > 1e-6 and found.mask_iou == 1
