"""Stage 1 as a task: stock's loss where stock is right, and one gradient however a step is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detr_hf.modeling.class_scores import SOFTMAX
from detr_hf.modeling.criterion import SetCriterion
from detr_hf.modeling.families.detr import Detr
from detr_hf.modeling.loss_terms import BOX_TERMS, LossSettings, LossTerm, Matched, bbox_loss
from detr_hf.modeling.matcher import MatchingCosts
from detr_hf.modeling.normalizers import Normalizers
from detr_hf.modeling.task import DetectionTask
from tests.tiny_models import (
    LABELS,
    gradient_difference,
    gradients,
    random_batch,
    stock_labels,
    tiny_detector,
)

CLOSE = 1e-5
EXACT = 1e-9  # in float64
COUNTS = [3, 0, 1, 5, 2, 9, 1, 4]  # one image without objects, one with more than there are queries
CUTS = {"1x8": [slice(0, 8)], "2x4": [slice(0, 4), slice(4, 8)], "8x1": [slice(i, i + 1) for i in range(8)]}


def task_of(loss: LossSettings | None = None, **settings: object) -> DetectionTask:
    return DetectionTask(tiny_detector(**settings), LABELS, loss).eval()


@pytest.mark.usefixtures("float64")
def test_loss_terms_and_gradients_equal_the_stock_model() -> None:
    pixel_values, pixel_mask, targets = random_batch([3, 0, 5], [(64, 96), (32, 96), (64, 64)])
    task, stock = task_of(LossSettings(auxiliary=False)), tiny_detector()
    terms = task(pixel_values, pixel_mask, targets, task.normalizers(targets))
    theirs = stock(pixel_values, pixel_mask, labels=stock_labels(targets))
    assert set(terms) == {"loss", "loss_ce", "loss_bbox", "loss_giou"}
    names = {"loss_ce": "loss_ce", "loss_bbox": "loss_bbox", "loss_giou": "loss_giou"}
    for ours, name in names.items():
        assert terms[ours].item() == pytest.approx(theirs.loss_dict[name].item(), rel=EXACT)
        assert not terms[ours].requires_grad
    assert terms["loss"].item() == pytest.approx(theirs.loss.item(), rel=EXACT)
    terms["loss"].backward()
    theirs.loss.backward()
    mine, stocks = gradients(task.model), gradients(stock)
    assert set(stocks) == {name for name, _ in stock.named_parameters()}
    assert gradient_difference(mine, stocks) < EXACT


def test_auxiliary_losses_are_those_of_the_inner_layers() -> None:
    """Guards: the config flag for auxiliary losses, which changes the network. Here only the loss grows."""
    batch = random_batch([3, 2])
    task, plain = task_of(), task_of(LossSettings(auxiliary=False))
    normalizers = task.normalizers(batch[2])
    terms, last = task(*batch, normalizers), plain(*batch, normalizers)
    assert not task.model.config.auxiliary_loss
    for name in ("loss_ce", "loss_bbox", "loss_giou"):
        assert terms[name].item() == pytest.approx(last[name].item(), rel=CLOSE)
    assert terms["loss"].item() == pytest.approx((last["loss"] + terms["loss_auxiliary"]).item(), rel=CLOSE)
    shorter = task_of(LossSettings(auxiliary=False))
    inner = 0.0
    for _ in range(2):  # a decoder cut after its second, then its first layer ends in what was an inner layer
        shorter.model.model.decoder.layers = shorter.model.model.decoder.layers[:-1]
        inner += shorter(*batch, normalizers)["loss"].item()
    assert terms["loss_auxiliary"].item() == pytest.approx(inner, rel=CLOSE)


def test_weights_of_the_terms() -> None:
    batch = random_batch([3, 2])
    task = task_of(
        LossSettings(
            auxiliary=False, class_loss_coefficient=0.5, bbox_loss_coefficient=3.0, giou_loss_coefficient=4.0
        )
    )
    terms = task(*batch, task.normalizers(batch[2]))
    expected = 0.5 * terms["loss_ce"] + 3 * terms["loss_bbox"] + 4 * terms["loss_giou"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=CLOSE)


def test_the_no_object_weight_enters_loss_and_normalizer() -> None:
    batch = random_batch([3, 2])
    task = task_of(LossSettings(eos_coefficient=0.4))
    assert task.normalizers(batch[2]) == Normalizers(5.0, pytest.approx(5 + 0.4 * 9))
    light = task_of(LossSettings(eos_coefficient=0.1))
    assert (
        task(*batch, task.normalizers(batch[2]))["loss_ce"]
        != light(*batch, light.normalizers(batch[2]))["loss_ce"]
    )


def test_the_matching_costs_reach_the_matching() -> None:
    batch = random_batch([5, 5])
    losses = [
        LossSettings(),
        LossSettings(costs=MatchingCosts(0, 1, 0)),
        LossSettings(costs=MatchingCosts(1, 0, 0)),
    ]
    terms = []
    for loss in losses:
        task = task_of(loss)
        terms.append(task(*batch, task.normalizers(batch[2]))["loss_bbox"].item())
    assert terms[1] < terms[0] < terms[2]  # matched by L1 alone, by all, by class alone


def step_in_cuts(cuts: list[slice]) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one optimizer step over eight images, summed over its micro-batches."""
    pixel_values, pixel_mask, targets = random_batch(COUNTS)
    task = task_of()
    shares = [task.normalizers(targets[cut]) for cut in cuts]
    whole = sum(shares[1:], start=shares[0])
    total = 0.0
    for cut in cuts:
        loss = task(pixel_values[cut], pixel_mask[cut], targets[cut], whole)["loss"]
        loss.backward()
        total += loss.item()
    return total, gradients(task)


@pytest.mark.usefixtures("float64")
def test_one_gradient_however_the_step_is_cut() -> None:
    """Guards: normalizers of the local batch: the balance of the terms then moves with its size."""
    loss, wanted = step_in_cuts(CUTS["1x8"])
    for cut in ("2x4", "8x1"):
        other_loss, others = step_in_cuts(CUTS[cut])
        assert other_loss == pytest.approx(loss, rel=EXACT)
        assert gradient_difference(others, wanted) < EXACT, cut


def test_the_mean_of_stock_losses_depends_on_the_cut() -> None:
    """If this fails, stock normalizes over the step as well."""
    pixel_values, pixel_mask, targets = random_batch(COUNTS)
    stock, labels = tiny_detector(), stock_labels(targets)
    with torch.no_grad():
        means = {
            name: sum(
                stock(pixel_values[cut], pixel_mask[cut], labels=labels[cut]).loss.item() for cut in cuts
            )
            / len(cuts)
            for name, cuts in CUTS.items()
        }
    assert abs(means["2x4"] / means["1x8"] - 1) > 0.005
    assert abs(means["8x1"] / means["1x8"] - 1) > 0.02


@pytest.mark.parametrize("auxiliary", [True, False])
def test_a_batch_without_objects_reaches_every_parameter(auxiliary: bool) -> None:
    """Distributed training waits for the gradient of every parameter."""
    task = task_of(LossSettings(auxiliary=auxiliary)).train()
    batch = random_batch([0, 0])
    terms = task(*batch, task.normalizers(batch[2]))
    assert torch.isfinite(terms["loss"])
    assert terms["loss"] > 0
    terms["loss"].backward()
    found = gradients(task)
    assert set(found) == {name for name, _ in task.named_parameters()}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert not found["model.bbox_predictor.layers.0.weight"].any()


def test_training_lowers_the_loss() -> None:
    task = task_of().train()
    batch = random_batch([3, 2])
    normalizers = task.normalizers(batch[2])
    optimizer = torch.optim.AdamW(task.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = task(*batch, normalizers)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_predictions_need_no_truth_and_no_gradient() -> None:
    task = task_of()
    pixel_values, pixel_mask, targets = random_batch([2, 0])
    sizes = [{key: target[key] for key in ("image_id", "size_hw", "original_size_hw")} for target in targets]
    found = task.predict(pixel_values, pixel_mask, sizes)
    assert [one.image_id for one in found] == [target["image_id"] for target in targets]
    assert all(len(one.scores) == 7 and one.labels.max() < LABELS.num_classes for one in found)


# ---- the table of terms


def center_loss(matched: Matched) -> Tensor:
    """The whole of a new loss: squared distance of the centers."""
    predicted, truth = matched.boxes
    return matched.per_layer((predicted[:, :2] - truth[:, :2]).square().sum(-1))


def test_a_new_loss_is_one_function_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = random_batch([3, 2])
    plain = task_of()
    before = plain(*batch, plain.normalizers(batch[2]))
    monkeypatch.setattr(Detr, "box_terms", (*BOX_TERMS, LossTerm("loss_center", 0.5, center_loss)))
    task = task_of()
    terms = task(*batch, task.normalizers(batch[2]))
    assert set(terms) == {*before, "loss_center"}
    logits = task.family.run(task.model, *batch[:2], all_layers=True)
    matched = task.criterion.matched(
        logits.logits, logits.boxes_cxcywh_norm, batch[2], task.normalizers(batch[2])
    )
    of_layers = center_loss(matched)  # [L]: after every decoder layer, as all box terms
    assert terms["loss_center"].item() == pytest.approx(of_layers[-1].item())
    added = (terms["loss"] - before["loss"]).item()
    assert added == pytest.approx(0.5 * of_layers.sum().item(), rel=1e-3)
    terms["loss"].backward()
    whole = gradients(task)
    before["loss"].backward()
    assert gradient_difference(whole, gradients(plain)) > 1e-4


def test_a_coefficient_may_be_a_setting_or_a_number() -> None:
    logits, boxes = torch.zeros(1, 1, 2, 3), torch.full((1, 1, 2, 4), 0.5)
    targets = [{"class_labels": torch.tensor([1]), "boxes_cxcywh_norm": torch.full((1, 4), 0.4)}]

    def loss(coefficient: str | float) -> float:
        terms = [LossTerm("loss_bbox", coefficient, bbox_loss)]
        criterion = SetCriterion(LossSettings(), terms, SOFTMAX)
        return criterion(criterion.matched(logits, boxes, targets, Normalizers(1.0, 1.0)))["loss"].item()

    assert loss(1.0) == pytest.approx(0.4)
    assert loss("bbox_loss_coefficient") == pytest.approx(5 * 0.4)
