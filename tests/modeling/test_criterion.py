"""The criterion: worked by hand, equal to transformers where that is right, and different where not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss, sigmoid_focal_loss

from detr_hf.modeling import matcher
from detr_hf.modeling.class_scores import SOFTMAX
from detr_hf.modeling.loss_terms import (
    LossSettings,
    Matched,
    MatchedMasks,
    bbox_loss,
    class_loss,
    dice_loss,
    giou_loss,
    mask_loss,
)
from detr_hf.modeling.matcher import Matches, MatchingCosts
from detr_hf.modeling.normalizers import Normalizers
from tests.tiny_models import LABELS, random_batch, relative_difference, stock_labels

CLOSE = 1e-5
QUERIES = 8


def one_pair(query: int = 0, object_index: int = 0) -> Matches:
    zero = torch.zeros(1, dtype=torch.int64)
    return Matches(zero, zero, zero + query, zero + object_index)


def leaves(images: int, mask_hw: tuple[int, int] = (16, 24)) -> dict[str, Tensor]:
    """Network outputs of one layer as stock names them, ready to receive gradients."""
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "logits": 2 * torch.randn(images, QUERIES, LABELS.num_classes + 1, generator=generator),
        "pred_boxes": torch.rand(images, QUERIES, 4, generator=generator),
        "pred_masks": 3 * torch.randn(images, QUERIES, *mask_hw, generator=generator),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def match(logits: Tensor, boxes: Tensor, targets: list[dict], costs: MatchingCosts) -> Matches:
    return matcher.match(-SOFTMAX.probabilities(logits), boxes, targets, costs)


def class_term(
    logits: Tensor,
    targets: list[dict],
    matches: Matches,
    eos_coefficient: float,
    normalizers: Normalizers,
    class_weights: Tensor | None = None,
) -> Tensor:
    settings = LossSettings(eos_coefficient=eos_coefficient)
    boxes = logits.new_zeros(*logits.shape[:3], 4)
    return class_loss(Matched(logits, boxes, targets, matches, normalizers, settings, class_weights))


def box_terms(
    boxes: Tensor, targets: list[dict], matches: Matches, normalizers: Normalizers
) -> tuple[Tensor, Tensor]:
    matched = Matched(boxes[..., :1], boxes, targets, matches, normalizers, LossSettings())
    return bbox_loss(matched), giou_loss(matched)


def mask_terms(
    masks: Tensor,
    targets: list[dict],
    matches: Matches,
    canvas_hw: tuple[int, int],
    normalizers: Normalizers,
    **settings: float,
) -> tuple[Tensor, Tensor]:
    nothing = torch.zeros(1, len(targets), 1, 4)
    cut = MatchedMasks.of(masks, targets, matches, canvas_hw)
    matched = Matched(nothing, nothing, targets, matches, normalizers, LossSettings(**settings), masks=cut)
    return mask_loss(matched)[0], dice_loss(matched)[0]


def our_terms(
    outputs: dict[str, Tensor], targets: list[dict], canvas_hw: tuple[int, int]
) -> dict[str, Tensor]:
    logits, boxes = outputs["logits"][None], outputs["pred_boxes"][None]
    matches = match(logits, boxes, targets, MatchingCosts())
    normalizers = Normalizers.of_targets(targets, QUERIES, 0.1)
    l1, giou = box_terms(boxes, targets, matches, normalizers)
    masks = outputs["pred_masks"][matches.image, matches.query]
    focal, dice = mask_terms(masks, targets, matches, canvas_hw, normalizers)
    classes = class_term(logits, targets, matches, 0.1, normalizers)[0]
    return {
        "loss_ce": classes,
        "loss_bbox": l1[0],
        "loss_giou": giou[0],
        "loss_mask": focal,
        "loss_dice": dice,
    }


def stock_terms(outputs: dict[str, Tensor], targets: list[dict]) -> dict[str, Tensor]:
    criterion = ImageLoss(HungarianMatcher(1, 5, 2), LABELS.num_classes, 0.1, ["labels", "boxes", "masks"])
    return criterion(outputs, stock_labels(targets, with_masks=True))


@pytest.mark.parametrize("objects", [[5, 3], [4, 0, 2], [11, 1]], ids=["plain", "one empty", "too many"])
@pytest.mark.parametrize("term", ["loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice"])
def test_every_term_and_gradient_equals_transformers(term: str, objects: list[int]) -> None:
    _, _, targets = random_batch(objects)
    ours, theirs = leaves(len(objects)), leaves(len(objects))
    mine, stock = our_terms(ours, targets, (64, 96))[term], stock_terms(theirs, targets)[term]
    assert mine.item() == pytest.approx(stock.item(), rel=CLOSE)
    assert stock.item() > 0.1
    mine.backward()
    stock.backward()
    for name, leaf in theirs.items():
        if leaf.grad is None:
            assert ours[name].grad is None
        else:
            assert relative_difference(ours[name].grad, leaf.grad) < CLOSE


def test_class_loss_by_hand() -> None:
    # two queries, two classes: query 0 has its class 1 with probability 1/4, query 1 no object with 1/2
    logits = torch.tensor([[[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]]]).log()
    targets = [{"class_labels": torch.tensor([1])}]
    normalizers = Normalizers.of_targets(targets, num_queries=2, eos_coefficient=0.1)
    assert normalizers == Normalizers(objects=1.0, class_weight_sum=1.1)
    loss = class_term(logits, targets, one_pair(), 0.1, normalizers)
    assert loss.tolist() == pytest.approx([(math.log(4) + 0.1 * math.log(2)) / 1.1])


def test_box_losses_by_hand() -> None:
    # predicted 0..0.5, true 0.25..0.75 on both axes: overlap 1/16, union 7/16, hull 9/16
    boxes = torch.tensor([[[[0.25, 0.25, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]]]])
    truth = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    targets = [{"class_labels": torch.tensor([0]), "boxes_cxcywh_norm": truth}]
    l1, giou = box_terms(boxes, targets, one_pair(), Normalizers(objects=2.0, class_weight_sum=1.0))
    assert l1.tolist() == pytest.approx([0.5 / 2])
    assert giou.tolist() == pytest.approx([(1 - (1 / 7 - 2 / 9)) / 2])


def test_mask_losses_by_hand() -> None:
    # probability 1/2 everywhere, one of four pixels is the object
    targets = [
        {"size_hw": (2, 2), "segment_ids": torch.tensor([7]), "id_map": torch.tensor([[7, 0], [3, 0]])}
    ]
    focal, dice = mask_terms(torch.zeros(1, 2, 2), targets, one_pair(), (2, 2), Normalizers(1.0, 1.0))
    assert focal.item() == pytest.approx(math.log(2) * 0.25 * (0.25 + 3 * 0.75) / 4)
    assert dice.item() == pytest.approx(1 - (2 * 0.5 + 1) / (4 * 0.5 + 1 + 1))


def test_mask_losses_have_the_weights_that_are_asked_for() -> None:
    _, _, targets = random_batch([2])
    masks = leaves(1)["pred_masks"][0, :2].detach()
    matches = Matches(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    focal, _ = mask_terms(
        masks, targets, matches, (64, 96), Normalizers(2.0, 1.0), focal_alpha=0.6, focal_gamma=1.5
    )
    full = functional.interpolate(masks[:, None], (64, 96), mode="bilinear").flatten(1)
    truth = stock_labels(targets, with_masks=True)[0]["masks"].flatten(1)
    assert focal.item() == pytest.approx(sigmoid_focal_loss(full, truth, 2, 0.6, 1.5).item(), rel=CLOSE)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_saturated_mask_has_a_finite_gradient(gamma: float) -> None:
    targets = [{"size_hw": (1, 2), "segment_ids": torch.tensor([7]), "id_map": torch.tensor([[7, 0]])}]
    masks = torch.tensor([[[40.0, -40.0]]], requires_grad=True)
    mask_terms(masks, targets, one_pair(), (1, 2), Normalizers(1.0, 1.0), focal_gamma=gamma)[0].backward()
    assert torch.isfinite(masks.grad).all()


# ---- padding


def padded(canvas_hw: tuple[int, int], cells_hw: tuple[int, int], masks: Tensor) -> Tensor:
    """Mask logits of a larger canvas: the same over the image, its edge once repeated, then rubbish."""
    rows, columns = (
        torch.arange(cells).clamp(max=size - 1) for cells, size in zip(cells_hw, masks.shape[1:], strict=True)
    )
    larger = masks[:, rows][:, :, columns].clone()
    larger[:, masks.shape[1] + 1 :] = 50.0
    larger[:, :, masks.shape[2] + 1 :] = -50.0
    return larger


def test_padding_never_enters_the_mask_losses() -> None:
    """Guards: the mean over the padded canvas, where a mask weighs less the larger its neighbors are."""
    _, _, targets = random_batch([3], (64, 96))
    masks = leaves(1)["pred_masks"][0, :3].detach()
    index = torch.arange(3)
    matches = Matches(index * 0, index * 0, index, index)
    normalizers = Normalizers(3.0, 1.0)
    alone = mask_terms(masks, targets, matches, (64, 96), normalizers)
    larger = padded((128, 192), (32, 48), masks).requires_grad_()
    together = mask_terms(larger, targets, matches, (128, 192), normalizers)
    assert [term.item() for term in together] == pytest.approx([term.item() for term in alone], rel=CLOSE)
    sum(together).backward()
    assert larger.grad[:, :16, :24].abs().sum() > 0
    assert not larger.grad[:, 17:].any()
    assert not larger.grad[:, :, 25:].any()


def test_padding_enters_the_stock_mask_losses() -> None:
    """If this fails, transformers leaves padding out as well."""
    _, _, targets = random_batch([3], (64, 96))
    _, _, larger_neighbor = random_batch([1], (128, 192), seed=1)
    labels = stock_labels([*targets, *larger_neighbor], with_masks=True)
    criterion = ImageLoss(HungarianMatcher(), LABELS.num_classes, 0.1, ["masks"])
    index, nothing = torch.arange(3), torch.arange(0)
    outputs = leaves(1)["pred_masks"].detach()
    canvas = padded((128, 192), (32, 48), outputs[0])[None].expand(2, -1, -1, -1)
    alone = criterion.loss_masks({"pred_masks": outputs}, labels[:1], [(index, index)], 3)
    both = [(index, index), (nothing, nothing)]
    together = criterion.loss_masks({"pred_masks": canvas}, labels, both, 3)
    assert together["loss_mask"].item() != pytest.approx(alone["loss_mask"].item(), rel=0.5)


# ---- nothing to learn from, and normalizers


def test_a_batch_without_objects_has_a_class_loss_only_and_a_graph_for_all() -> None:
    """Guards: masks of no object as a constant, which leaves the mask head out of the graph."""
    _, _, targets = random_batch([0, 0])
    outputs = leaves(2)
    terms = our_terms(outputs, targets, (64, 96))
    stock = stock_terms(leaves(2), targets)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: stock[name].item() for name in terms}, rel=CLOSE
    )
    assert terms["loss_ce"] > 0
    sum(terms.values()).backward()
    assert outputs["logits"].grad.any()
    assert outputs["pred_boxes"].grad is not None
    assert outputs["pred_masks"].grad is not None


def test_normalizers_by_hand() -> None:
    """Guards: surplus objects, which no query is left for, counted as matched ones."""
    targets: list[dict[str, Any]] = [{"class_labels": torch.zeros(n, dtype=torch.int64)} for n in (3, 0, 12)]
    step = Normalizers.of_targets(targets, num_queries=10, eos_coefficient=0.1)
    assert step.objects == 15  # all objects, also the two that no query is left for: as in the reference
    assert step.class_weight_sum == pytest.approx(3 + 0.7 + 1.0 + 10)
    parts = [Normalizers.of_targets([target], 10, 0.1) for target in targets]
    summed = parts[0] + parts[1] + parts[2]
    assert (summed.objects, summed.class_weight_sum) == pytest.approx((step.objects, step.class_weight_sum))


def test_normalizers_are_never_zero() -> None:
    _, _, targets = random_batch([0])
    outputs = leaves(1)
    nothing = Normalizers(0.0, 0.0)
    matches = match(outputs["logits"][None], outputs["pred_boxes"][None], targets, MatchingCosts())
    assert class_term(outputs["logits"][None], targets, matches, 0.0, nothing).tolist() == [0.0]
    for term in box_terms(outputs["pred_boxes"][None], targets, matches, nothing):
        assert term.tolist() == [0.0]


def test_layers_are_kept_apart() -> None:
    """Each layer's terms are those of the layer alone, with its own matching."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 2, QUERIES, LABELS.num_classes + 1, generator=generator)
    boxes = torch.rand(3, 2, QUERIES, 4, generator=generator)
    _, _, targets = random_batch([3, 4])
    normalizers = Normalizers.of_targets(targets, QUERIES, 0.1)

    def terms(layers: slice) -> list[Tensor]:
        matches = match(logits[layers], boxes[layers], targets, MatchingCosts())
        return [
            class_term(logits[layers], targets, matches, 0.1, normalizers),
            *box_terms(boxes[layers], targets, matches, normalizers),
        ]

    together = terms(slice(None))
    for layer in range(3):
        for term, alone in zip(together, terms(slice(layer, layer + 1)), strict=True):
            assert term.shape == (3,)
            torch.testing.assert_close(term[layer], alone[0])


def test_class_weights_by_hand() -> None:
    # as above: query 0 has its class 1 with probability 1/4, query 1 no object with 1/2; class 1 weighs 3
    logits = torch.tensor([[[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]]]).log()
    targets = [{"class_labels": torch.tensor([1])}]
    weights = torch.tensor([0.5, 3.0])
    normalizers = Normalizers.of_targets(targets, 2, 0.1, weights)
    assert normalizers == Normalizers(objects=1.0, class_weight_sum=pytest.approx(3.1))
    loss = class_term(logits, targets, one_pair(), 0.1, normalizers, weights)
    assert loss.tolist() == pytest.approx([(3 * math.log(4) + 0.1 * math.log(2)) / 3.1])


def test_weighted_class_loss_is_the_weighted_cross_entropy_of_the_whole_step() -> None:
    """The normalizer is known before the forward pass, and equal to what cross_entropy divides by."""
    _, _, targets = random_batch([5, 0, 3])
    outputs, weights = leaves(3), torch.linspace(0.2, 3.0, LABELS.num_classes)
    logits = outputs["logits"][None]
    matches = match(logits, outputs["pred_boxes"][None], targets, MatchingCosts())
    normalizers = Normalizers.of_targets(targets, QUERIES, 0.1, weights)
    wanted = torch.full(logits.shape[1:3], LABELS.num_classes)
    for image, query, at in zip(matches.image, matches.query, matches.object_index, strict=True):
        wanted[image, query] = targets[image]["class_labels"][at]
    theirs = torch.nn.functional.cross_entropy(
        logits.flatten(0, 2), wanted.flatten(), torch.cat([weights, torch.tensor([0.1])])
    )
    ours = class_term(logits, targets, matches, 0.1, normalizers, weights)
    assert ours.item() == pytest.approx(theirs.item(), rel=CLOSE)


def test_weights_of_more_objects_than_queries_are_their_mean() -> None:
    targets = [{"class_labels": torch.tensor([0, 0, 1])}]
    step = Normalizers.of_targets(targets, 2, 0.1, torch.tensor([1.0, 4.0]))
    assert (step.objects, step.class_weight_sum) == (3.0, pytest.approx(2 * (1 + 1 + 4) / 3))
