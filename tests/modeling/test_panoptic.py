"""Stage 2 as a task: a detector that never moves, stock's mask losses, one gradient for every cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detr_hf.labels import LabelMap
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.panoptic_merge import MergeSettings
from detr_hf.modeling.task import PanopticTask
from tests.tiny_models import (
    LABELS,
    gradient_difference,
    gradients,
    random_batch,
    stock_labels,
    tiny_segmenter,
)

CLOSE = 1e-5
EXACT = 1e-9  # in float64
COUNTS = [3, 0, 1, 5, 2, 9, 1, 4]  # one image without objects, one with more than there are queries
CUTS = {"1x8": [slice(0, 8)], "2x4": [slice(0, 4), slice(4, 8)], "8x1": [slice(i, i + 1) for i in range(8)]}


def task_of(frozen: bool = True, chunk: int = 4, **settings: Any) -> PanopticTask:
    merge = MergeSettings(score_threshold=0.3, mask_threshold=0.4)
    return PanopticTask(tiny_segmenter(), LABELS, LossSettings(**settings), merge, chunk, frozen)


def heads(task: PanopticTask) -> set[str]:
    return {name for name, _ in task.named_parameters() if not name.startswith("model.detr.")}


# ---- losses


@pytest.mark.usefixtures("float64")
def test_mask_losses_and_gradients_equal_the_stock_model() -> None:
    """Guards: masks of matched queries only, from the id map, give what the stock model pays for in full. And
    class and box losses of a frozen detector, from which nothing can be learned, in the loss.
    """
    pixel_values, pixel_mask, targets = random_batch([5, 0, 9])
    task, stock = task_of(), tiny_segmenter()
    stock.detr.requires_grad_(False)
    terms = task(pixel_values, pixel_mask, targets, task.normalizers(targets))
    theirs = stock(pixel_values, pixel_mask, labels=stock_labels(targets, with_masks=True)).loss_dict
    assert set(terms) == {"loss", "loss_mask", "loss_dice"}
    assert terms["loss_mask"].item() == pytest.approx(theirs["loss_mask"].item(), rel=EXACT)
    assert terms["loss_dice"].item() == pytest.approx(theirs["loss_dice"].item(), rel=EXACT)
    terms["loss"].backward()
    (theirs["loss_mask"] + theirs["loss_dice"]).backward()
    mine, stocks = gradients(task.model), gradients(stock)
    assert set(stocks) == {name.removeprefix("model.") for name in heads(task)}
    assert gradient_difference(mine, stocks) < EXACT


@pytest.mark.usefixtures("float64")
def test_end_to_end_loss_and_gradients_equal_the_stock_model() -> None:
    pixel_values, pixel_mask, targets = random_batch([5, 2])
    task, stock = task_of(frozen=False, auxiliary=False), tiny_segmenter()
    terms = task(pixel_values, pixel_mask, targets, task.normalizers(targets))
    theirs = stock(pixel_values, pixel_mask, labels=stock_labels(targets, with_masks=True))
    assert set(terms) == {"loss", "loss_mask", "loss_dice", "loss_ce", "loss_bbox", "loss_giou"}
    assert terms["loss"].item() == pytest.approx(theirs.loss.item(), rel=EXACT)
    terms["loss"].backward()
    theirs.loss.backward()
    mine, stocks = gradients(task.model), gradients(stock)
    assert set(stocks) == {name for name, _ in stock.named_parameters()}
    assert gradient_difference(mine, stocks) < EXACT


def test_weights_of_the_terms() -> None:
    batch = random_batch([3, 2])
    task = task_of(mask_loss_coefficient=3.0, dice_loss_coefficient=0.5)
    terms = task(*batch, task.normalizers(batch[2]))
    expected = 3 * terms["loss_mask"] + 0.5 * terms["loss_dice"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=CLOSE)


def test_focal_settings_reach_the_loss() -> None:
    batch = random_batch([3, 2])
    focal = {
        str(settings): task_of(**settings)(*batch, task_of().normalizers(batch[2]))["loss_mask"].item()
        for settings in ({}, {"focal_alpha": 0.75}, {"focal_gamma": 0.5})
    }
    assert len(set(focal.values())) == 3


def step_in_cuts(cuts: list[slice], frozen: bool) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one optimizer step over eight images, summed over its micro-batches."""
    pixel_values, pixel_mask, targets = random_batch(COUNTS)
    task = task_of(frozen).eval()
    shares = [task.normalizers(targets[cut]) for cut in cuts]
    whole = sum(shares[1:], start=shares[0])
    total = 0.0
    for cut in cuts:
        loss = task(pixel_values[cut], pixel_mask[cut], targets[cut], whole)["loss"]
        loss.backward()
        total += loss.item()
    return total, gradients(task)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "end to end"])
def test_one_gradient_however_the_step_is_cut(frozen: bool) -> None:
    """Guards: normalizers of the local batch: an image then weighs more beside images of few objects."""
    loss, wanted = step_in_cuts(CUTS["1x8"], frozen)
    for cut in ("2x4", "8x1"):
        other_loss, others = step_in_cuts(CUTS[cut], frozen)
        assert other_loss == pytest.approx(loss, rel=EXACT)
        assert gradient_difference(others, wanted) < EXACT, cut


def test_the_mean_of_stock_losses_depends_on_the_cut() -> None:
    """If this fails, stock normalizes over the step as well."""
    pixel_values, pixel_mask, targets = random_batch(COUNTS)
    stock, labels = tiny_segmenter(), stock_labels(targets, with_masks=True)
    means = {}
    with torch.no_grad():
        for name in ("1x8", "2x4"):
            dicts = [
                stock(pixel_values[cut], pixel_mask[cut], labels=labels[cut]).loss_dict for cut in CUTS[name]
            ]
            means[name] = sum((one["loss_mask"] + one["loss_dice"]).item() for one in dicts) / len(dicts)
    assert abs(means["2x4"] / means["1x8"] - 1) > 0.005


# ---- what learns


def train_steps(task: PanopticTask, steps: int = 3) -> list[float]:
    batch = random_batch([3, 2])
    normalizers = task.normalizers(batch[2])
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], 1e-3, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        task.train()
        loss = task(*batch, normalizers)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_frozen_detector_is_bit_identical_after_training() -> None:
    task = task_of()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    losses = train_steps(task, 6)
    assert losses[-1] < losses[0]
    after = task.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("detr."))
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert {name.removeprefix("model.") for name in heads(task)} - changed <= {"bbox_attention.k_proj.bias"}
    assert all(parameter.grad is None for parameter in task.model.detr.parameters())
    assert all(not parameter.requires_grad for parameter in task.model.detr.parameters())


def test_a_frozen_detector_stays_in_eval_mode() -> None:
    """Guards: `.train()` turns on the dropout of the frozen detector, so that its boxes waver."""
    segmenter = tiny_segmenter().train()
    task = PanopticTask(segmenter, LABELS, mask_chunk=4)
    assert not any(module.training for module in segmenter.detr.modules())  # from the start
    assert task.train() is task
    assert task.training and task.model.mask_head.training
    assert not any(module.training for module in segmenter.detr.modules())
    assert segmenter.config.dropout > 0
    pixel_values, pixel_mask, _ = random_batch([1])
    first, second = (segmenter.detr(pixel_values, pixel_mask).logits for _ in range(2))
    assert torch.equal(first, second)
    assert not task.eval().training


def test_the_matching_is_the_same_in_training_and_evaluation() -> None:
    batch = random_batch([3, 2])
    task = task_of()
    normalizers = task.normalizers(batch[2])
    losses = [task.train(mode)(*batch, normalizers)["loss"].item() for mode in (True, True, False)]
    assert losses[0] == losses[1] == losses[2]


def test_end_to_end_training_moves_everything() -> None:
    task = task_of(frozen=False)
    assert all(parameter.requires_grad for parameter in task.parameters())
    task.train()
    assert all(module.training for module in task.model.detr.modules())
    before = {name: parameter.detach().clone() for name, parameter in task.named_parameters()}
    train_steps(task, 1)
    still = {name for name, parameter in task.named_parameters() if torch.equal(parameter, before[name])}
    assert all(name.endswith("bias") for name in still)


def test_end_to_end_terms_are_complete() -> None:
    batch = random_batch([3, 2])
    task = task_of(frozen=False).eval()
    terms = task(*batch, task.normalizers(batch[2]))
    parts = terms["loss_ce"] + 5 * terms["loss_bbox"] + 2 * terms["loss_giou"] + terms["loss_auxiliary"]
    assert terms["loss"].item() == pytest.approx(
        (parts + terms["loss_mask"] + terms["loss_dice"]).item(), rel=CLOSE
    )
    assert all(not term.requires_grad for name, term in terms.items() if name != "loss")


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "end to end"])
def test_a_batch_without_objects_reaches_every_parameter(frozen: bool) -> None:
    """Distributed training waits for the gradient of every parameter that learns."""
    task, passed = task_of(frozen).train(), []
    task.model.mask_head.conv2.register_forward_hook(lambda _m, inputs, _o: passed.append(len(inputs[0])))
    batch = random_batch([0, 0])
    terms = task(*batch, task.normalizers(batch[2]))
    assert terms["loss_mask"].item() == terms["loss_dice"].item() == 0
    assert torch.isfinite(terms["loss"])
    terms["loss"].backward()
    found = gradients(task)
    assert set(found) == {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert heads(task) <= set(found)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert not any(found[name].any() for name in heads(task))
    assert passed == [1]  # not an empty pass, which not every device can do


def test_only_matched_queries_pass_the_mask_head() -> None:
    """Guards: the stock model computes the masks of all queries, though the loss uses matched ones."""
    task, passed = task_of(chunk=100), []
    task.model.mask_head.conv2.register_forward_hook(lambda _m, inputs, _o: passed.append(len(inputs[0])))
    batch = random_batch([3, 0, 9])
    task(*batch, task.normalizers(batch[2]))
    assert passed == [3 + 0 + 7]


# ---- predictions


def test_predictions_need_no_truth_and_are_in_original_pixels() -> None:
    task = task_of().eval()
    pixel_values, pixel_mask, targets = random_batch([2, 0])
    sizes = [{"image_id": t["image_id"], "size_hw": (64, 96), "original_size_hw": (80, 120)} for t in targets]
    found = task.predict(pixel_values, pixel_mask, sizes)
    assert [one.image_id for one in found] == [target["image_id"] for target in targets]
    for one in found:
        assert one.id_map.shape == (80, 120)
        ids = [segment.id for segment in one.segments]
        assert len(ids) == len(set(ids))
        assert set(np.unique(one.id_map)) - {0} == set(ids)
    assert any(one.segments for one in found)


def test_only_stuff_of_one_class_is_merged() -> None:
    """Guards: stuff left in pieces, as the stock pipeline leaves it."""
    batch = random_batch([0] * 4)
    task = task_of().eval()
    all_stuff = LabelMap.from_names(["nothing"], stuff=[f"stuff {index}" for index in range(4)])

    def doubled(labels: LabelMap) -> int:
        """How many segments share their class with another of the same image."""
        task.labels = labels
        classes = [[segment.category_id for segment in one.segments] for one in task.predict(*batch)]
        return sum(len(one) - len(set(one)) for one in classes)

    assert doubled(LabelMap.from_names("abcde")) > 0
    assert doubled(all_stuff) == 0


def test_evaluation_settings_reach_the_merge() -> None:
    batch = random_batch([0])
    task = task_of().eval()

    def covered(**settings: float) -> float:
        task.merge = MergeSettings(**settings)
        return float((task.predict(*batch)[0].id_map > 0).mean())

    some = covered(score_threshold=0.3, mask_threshold=0.4)
    assert 0 < some < 1
    assert covered(score_threshold=0.3, mask_threshold=0.0) == 1
    assert covered(score_threshold=1.0, mask_threshold=0.0) == 0
