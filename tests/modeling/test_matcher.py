"""Queries and objects: matched as transformers does where that is right, and soundly where it is not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.loss.loss_for_object_detection import HungarianMatcher

from detr_hf.modeling import matcher
from detr_hf.modeling.class_scores import SOFTMAX
from detr_hf.modeling.matcher import Matches, MatchingCosts
from tests.tiny_models import stock_labels

CLASSES = 5


def match(logits: Tensor, boxes: Tensor, targets: list[dict], costs: MatchingCosts) -> Matches:
    return matcher.match(-SOFTMAX.probabilities(logits), boxes, targets, costs)


def predictions(layers: int, images: int, queries: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(layers, images, queries, CLASSES + 1, generator=generator)
    return logits, torch.rand(layers, images, queries, 4, generator=generator)


def objects(counts: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return [
        {
            "class_labels": torch.randint(0, CLASSES, (count,), generator=generator),
            "boxes_cxcywh_norm": torch.rand(count, 4, generator=generator),
        }
        for count in counts
    ]


def pairs(matches: Matches, layer: int, image: int) -> list[tuple[int, int]]:
    keep = (matches.layer == layer) & (matches.image == image)
    return list(zip(matches.query[keep].tolist(), matches.object_index[keep].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("costs", [(1.0, 5.0, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_every_layer_equals_transformers_matcher(seed: int, costs: tuple[float, float, float]) -> None:
    logits, boxes = predictions(layers=3, images=4, queries=9, seed=seed)
    targets = objects([3, 0, 8, 1], seed)
    matches = match(logits, boxes, targets, MatchingCosts(*costs))
    stock = HungarianMatcher(*costs)
    for layer in range(3):
        expected = stock({"logits": logits[layer], "pred_boxes": boxes[layer]}, stock_labels(targets))
        for image, (queries, found) in enumerate(expected):
            assert pairs(matches, layer, image) == list(zip(queries.tolist(), found.tolist(), strict=True))


def test_by_hand() -> None:
    logits = torch.zeros(1, 1, 3, 3)
    logits[0, 0, 0, 1] = logits[0, 0, 2, 0] = 9.0  # query 0 says class 1, query 2 says class 0
    boxes = torch.full((1, 1, 3, 4), 0.5)
    targets = [{"class_labels": torch.tensor([0, 1]), "boxes_cxcywh_norm": torch.full((2, 4), 0.5)}]
    assert pairs(match(logits, boxes, targets, MatchingCosts()), 0, 0) == [(0, 1), (2, 0)]
    boxes[0, 0, 1] = torch.tensor([0.2, 0.2, 0.1, 0.1])
    targets[0]["boxes_cxcywh_norm"][1] = boxes[
        0, 0, 1
    ]  # now query 1 has the box of object 1, and boxes weigh more
    assert pairs(match(logits, boxes, targets, MatchingCosts()), 0, 0) == [(1, 1), (2, 0)]
    only_class = MatchingCosts(1.0, 0.0, 0.0)
    assert pairs(match(logits, boxes, targets, only_class), 0, 0) == [(0, 1), (2, 0)]


def test_pairs_stay_within_their_image_and_in_order() -> None:
    logits, boxes = predictions(layers=2, images=3, queries=6)
    targets = objects([4, 1, 5])
    matches = match(logits, boxes, targets, MatchingCosts())
    rows = list(zip(*(getattr(matches, name).tolist() for name in ("layer", "image", "query")), strict=True))
    assert rows == sorted(set(rows))
    for layer in range(2):
        for image, count in enumerate([4, 1, 5]):
            assert sorted(found for _, found in pairs(matches, layer, image)) == list(range(count))
            alone = match(
                logits[:, image : image + 1], boxes[:, image : image + 1], [targets[image]], MatchingCosts()
            )
            assert pairs(alone, layer, 0) == pairs(matches, layer, image)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had that any operation made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_queries_never_meet_the_objects_of_other_images() -> None:
    """Guards: costs of every query against the objects of the whole batch, most of them thrown away again."""
    logits, boxes = predictions(layers=2, images=8, queries=9)
    with Largest() as largest:
        match(logits, boxes, objects([6] * 8), MatchingCosts())
    assert largest.numbers <= 2 * (2 * 8 * 9 * 6)  # width and height of overlaps; stock makes 8 times that


def test_costs_of_all_layers_and_images_go_to_the_host_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: a copy for every layer or image, each of which makes a GPU wait."""
    copied, real = [], Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: copied.append(tuple(tensor.shape)) or real(tensor))
    logits, boxes = predictions(layers=3, images=4, queries=9)
    match(logits, boxes, objects([3, 0, 5, 1]), MatchingCosts())
    assert copied == [(3, 4, 9, 5)]


def test_pairs_of_one_layer() -> None:
    logits, boxes = predictions(layers=3, images=2, queries=6)
    targets = objects([2, 3])
    matches = match(logits, boxes, targets, MatchingCosts())
    last, alone = matches.of_layer(2), match(logits[2:], boxes[2:], targets, MatchingCosts())
    assert last.layer.tolist() == [2] * 5
    for name in ("image", "query", "object_index"):
        assert torch.equal(getattr(last, name), getattr(alone, name))


@pytest.mark.parametrize("counts", [[0], [0, 0], [0, 2], [2, 0]])
def test_images_without_objects_have_no_pairs(counts: list[int]) -> None:
    logits, boxes = predictions(layers=2, images=len(counts), queries=4)
    matches = match(logits, boxes, objects(counts), MatchingCosts())
    assert matches.image.dtype == torch.int64
    assert len(matches.image) == 2 * sum(counts)
    assert all(counts[image] for image in matches.image.tolist())


def test_more_objects_than_queries_leaves_out_the_worst_fitting() -> None:
    """Guards: surplus objects. Every query is matched, and no other choice of objects would cost less."""
    logits, boxes = predictions(layers=1, images=1, queries=3)
    targets = objects([5])
    matches = match(logits, boxes, targets, MatchingCosts(1.0, 5.0, 0.0))
    assert matches.query.tolist() == [0, 1, 2]
    cost = 5 * torch.cdist(boxes[0, 0], targets[0]["boxes_cxcywh_norm"], p=1)
    cost -= logits[0, 0].softmax(-1)[:, targets[0]["class_labels"]]
    cheapest = min(
        itertools.permutations(range(5), 3), key=lambda chosen: cost[range(3), chosen].sum().item()
    )
    assert matches.object_index.tolist() == list(cheapest)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_query_is_matched_last(bad: float) -> None:
    """Guards: NaN boxes, for which transformers raises a complaint about corner formats."""
    logits, boxes = predictions(layers=1, images=1, queries=5)
    targets = objects([4])
    boxes[0, 0, 2] = bad
    kept = [0, 1, 3, 4]
    healthy = match(logits[:, :, kept], boxes[:, :, kept], targets, MatchingCosts())
    matches = match(logits, boxes, targets, MatchingCosts())
    assert pairs(matches, 0, 0) == [(kept[query], found) for query, found in pairs(healthy, 0, 0)]
    if bad != bad:
        with pytest.raises(ValueError, match="corner"):
            HungarianMatcher()({"logits": logits[0], "pred_boxes": boxes[0]}, stock_labels(targets))


def test_a_wholly_diverged_model_does_not_crash_the_matching() -> None:
    logits, boxes = predictions(layers=2, images=2, queries=4)
    matches = match(logits * float("nan"), boxes * float("nan"), objects([3, 6]), MatchingCosts())
    assert len(matches.query) == 2 * (3 + 4)


def test_half_precision_predictions_are_matched_in_float32() -> None:
    """Guards: the pairwise distance that has no bfloat16 form."""
    logits, boxes = predictions(layers=1, images=2, queries=6)
    logits, boxes, targets = logits.bfloat16(), boxes.bfloat16(), objects([3, 2])
    half = match(logits, boxes, targets, MatchingCosts())
    full = match(logits.float(), boxes.float(), targets, MatchingCosts())
    assert torch.equal(half.query, full.query)
    assert torch.equal(half.object_index, full.object_index)


def test_matching_records_no_gradient() -> None:
    logits, boxes = predictions(layers=1, images=1, queries=4)
    matches = match(logits.requires_grad_(), boxes.requires_grad_(), objects([2]), MatchingCosts())
    assert not matches.query.requires_grad
