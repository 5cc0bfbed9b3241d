"""What the sigmoid families learn from: the formula, one gradient however a step is cut, all heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.loss_terms import LossSettings
from detr_hf.modeling.matcher import MatchingCosts
from detr_hf.modeling.task import DetectionTask
from tests.family_models import LAYERS, QUERIES, VARIANTS, family_detector
from tests.tiny_models import LABELS, gradient_difference, gradients, random_batch

EXACT = 1e-9  # in float64
CLASS_WEIGHT = {"conditional_detr": 2, "dab_detr": 1}  # and 2 for Deformable DETR
TWO_STAGE = "deformable_detr_two_stage"
SIZES = [(64, 64), (32, 64), (64, 32)]  # two are padded
COUNTS = [3, 0, 1, 5, 2, 9, 1, 4]  # one image without objects, one with more than there are queries
CUTS = {"1x8": [slice(0, 8)], "2x4": [slice(0, 4), slice(4, 8)], "8x1": [slice(i, i + 1) for i in range(8)]}


def task_of(variant: str, loss: LossSettings | None = None) -> DetectionTask:
    return DetectionTask(family_detector(variant), LABELS, loss).eval()


# ---- the formula, written down once more


def giou_by_hand(a: Tensor, b: Tensor) -> Tensor:
    """Of two boxes (cx, cy, w, h)."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    left, right = torch.maximum(ax - aw / 2, bx - bw / 2), torch.minimum(ax + aw / 2, bx + bw / 2)
    top, bottom = torch.maximum(ay - ah / 2, by - bh / 2), torch.minimum(ay + ah / 2, by + bh / 2)
    shared = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    union = aw * ah + bw * bh - shared
    hull = (torch.maximum(ax + aw / 2, bx + bw / 2) - torch.minimum(ax - aw / 2, bx - bw / 2)) * (
        torch.maximum(ay + ah / 2, by + bh / 2) - torch.minimum(ay - ah / 2, by - bh / 2)
    )
    return shared / union - (hull - union) / hull


def loss_by_hand(logits: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor, class_weight: float) -> Tensor:
    """Of one image after one layer, not yet divided: ``[Q, K]``, ``[Q, 4]``, ``[N]``, ``[N, 4]``."""
    probability = logits.sigmoid()
    absent = -0.75 * probability**2 * (1 - probability).log()
    there = -0.25 * (1 - probability) ** 2 * probability.log()
    cost = torch.zeros(len(logits), len(labels))
    for query in range(len(logits)):
        for index, label in enumerate(labels):
            l1 = (boxes[query] - truth[index]).abs().sum()
            of_class = there[query, label] - absent[query, label]
            cost[query, index] = 2 * of_class + 5 * l1 - 2 * giou_by_hand(boxes[query], truth[index])
    total = class_weight * absent.sum()
    for query, index in zip(*linear_sum_assignment(cost.detach().numpy()), strict=True):
        label = labels[index]
        total = total + class_weight * (there[query, label] - absent[query, label])
        total = total + 5 * (boxes[query] - truth[index]).abs().sum()
        total = total + 2 * (1 - giou_by_hand(boxes[query], truth[index]))
    return total


def reference(variant: str, model: Any, pixels: Tensor, mask: Tensor, targets: Sequence[dict]) -> Tensor:
    """The loss of a batch from stock's own outputs."""
    outputs = stock_layers(model, pixels, mask)
    weight, total = CLASS_WEIGHT.get(variant, 2), torch.zeros(())
    for image, target in enumerate(targets):
        labels, truth = target["class_labels"], target["boxes_cxcywh_norm"]
        for logits, boxes in outputs["layers"]:
            total = total + loss_by_hand(logits[image], boxes[image], labels, truth, weight)
        if "proposals" in outputs:
            real = torch.cat([mask[image, ::step, ::step].flatten() for step in (8, 16, 32, 64)]).bool()
            logits, boxes = (proposed[image, real] for proposed in outputs["proposals"])
            total = total + loss_by_hand(logits, boxes, torch.zeros_like(labels), truth, weight)
    return total / sum(len(target["class_labels"]) for target in targets)


def stock_layers(model: Any, pixels: Tensor, mask: Tensor) -> dict[str, Any]:
    """What stock predicts after every decoder layer: cut after it, it is the last one."""
    decoder, whole, layers = model.model.decoder, model.model.decoder.layers, []
    for count in range(1, LAYERS + 1):
        decoder.layers, decoder.num_layers = whole[:count], count
        found = model(pixels, pixel_mask=mask)
        layers.append((found.logits, found.pred_boxes))
    proposals = getattr(found, "enc_outputs_class", None)
    if proposals is None:
        return {"layers": layers}
    return {"layers": layers, "proposals": (proposals, found.enc_outputs_coord_logits.sigmoid())}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_and_gradient_are_those_of_the_formula(variant: str) -> None:
    """Guards: a class loss at half its weight, proposals without a loss, costs of another family."""
    batch = random_batch([3, 0, 2], SIZES)
    task, stock = task_of(variant), family_detector(variant)
    loss = task(*batch, task.normalizers(batch[2]))["loss"]
    wanted = reference(variant, stock, *batch)
    assert loss.item() == pytest.approx(wanted.item(), rel=EXACT)
    loss.backward()
    wanted.backward()
    # stock keeps a part of DAB-DETR's position embedding in float32, where a sum of gradients is rounded
    close = 1e-4 if variant == "dab_detr" else EXACT
    assert gradient_difference(gradients(task.model), gradients(stock)) < close


@pytest.mark.usefixtures("float64")
def test_places_at_the_rim_learn_to_be_no_object() -> None:
    """Guards: a loss without the places at the rim of wide maps, which all say the same: it would rise until
    they are proposed instead of what is there."""
    batch = random_batch([2], (64, 448))
    task, stock = task_of(TWO_STAGE), family_detector(TWO_STAGE)
    places = stock.model(*batch[:2]).enc_outputs_coord_logits
    assert (~places.isfinite().all(-1)).sum() == 16  # two columns of eight
    loss = task(*batch, task.normalizers(batch[2]))["loss"]
    assert loss.item() == pytest.approx(reference(TWO_STAGE, stock, *batch).item(), rel=EXACT)


# ---- one gradient


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_gradient_however_the_step_is_cut(variant: str) -> None:
    """Guards: a loss over the objects, the places or the padding of the local batch."""
    pixels, mask, targets = random_batch(COUNTS, (SIZES * 3)[:8])
    whole, found = task_of(variant).normalizers(targets), {}
    for name, cuts in CUTS.items():
        task, total = task_of(variant), 0.0
        for cut in cuts:
            loss = task(pixels[cut], mask[cut], targets[cut], whole)["loss"]
            loss.backward()
            total += loss.item()
        found[name] = total, gradients(task)
    for name in ("2x4", "8x1"):
        assert found[name][0] == pytest.approx(found["1x8"][0], rel=EXACT)
        assert gradient_difference(found[name][1], found["1x8"][1]) < EXACT, name


# ---- every head


@pytest.mark.parametrize("variant", [*VARIANTS, "conditional_detr, last layer", "dab_detr, last layer"])
def test_a_batch_without_objects_reaches_every_parameter(variant: str) -> None:
    """Distributed training waits for the gradient of every parameter."""
    name, *last = variant.split(", ")
    task = task_of(name, LossSettings(auxiliary=not last)).train()
    batch = random_batch([0, 0])
    terms = task(*batch, task.normalizers(batch[2]))
    assert torch.isfinite(terms["loss"]) and terms["loss"] > 0
    terms["loss"].backward()
    found = gradients(task)
    assert set(found) == {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_the_heads_of_the_proposals_learn() -> None:
    """Guards: proposals of two stages that have no loss, so that those of new classes stay random."""
    task = task_of(TWO_STAGE)
    batch = random_batch([3, 2])
    terms = task(*batch, task.normalizers(batch[2]))
    assert terms["loss_proposals"] > 0
    terms["loss"].backward()
    model = task.model
    for module in (
        *(model.model.enc_output, model.model.enc_output_norm),
        *(model.class_embed[-1], model.bbox_embed[-1]),
    ):
        assert all(parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_class_head_starts_at_the_loss_of_the_prior(variant: str) -> None:
    """Guards: new heads with a bias of 0, whose first loss is hundreds of times as large."""
    labels = LabelMap.from_names([f"class {index}" for index in range(20)])
    detector = family_detector(variant)
    task = DetectionTask(
        detector,
        labels,
        LossSettings(bbox_loss_coefficient=0, giou_loss_coefficient=0, costs=MatchingCosts(class_cost=2.0)),
    )
    new = task.family.replace_classes(detector, labels)
    assert set(new) == {name for name in detector.state_dict() if name.startswith("class_")}
    batch = random_batch([5, 5])
    found = task(*batch, task.normalizers(batch[2]))
    absent, there = 0.75 * 0.01**2 * -math.log(0.99), 0.25 * 0.99**2 * -math.log(0.01)
    expected = (absent * (2 * QUERIES * 20 - 10) + there * 10) / 10
    assert expected / 2 < found["loss_ce"] < expected * 2
    if "loss_proposals" in found:
        assert expected / 2 < found["loss_proposals"] < expected * 2


def test_every_layer_of_deformable_detr_gets_a_class_head_of_its_own() -> None:
    """Guards: a new head that is one module for all layers, as stock declares it."""
    for variant in (name for name in VARIANTS if name.startswith("deformable")):
        detector = family_detector(variant)
        DetectionTask(detector, LABELS).family.replace_classes(detector, LABELS)
        heads = LAYERS + (1 if variant.endswith("two_stage") else 0)
        assert len({id(head.weight) for head in detector.class_embed}) == heads
        assert not torch.equal(detector.class_embed[0].weight, detector.class_embed[1].weight)
        if variant.endswith("two_stage"):
            assert detector.model.decoder.class_embed is detector.class_embed


def test_images_with_fewer_places_than_proposals_are_refused_by_their_size() -> None:
    detector = family_detector("deformable_detr_two_stage", two_stage_num_proposals=200)
    pixels, mask, _ = random_batch([1], (64, 96))
    with pytest.raises(UserError, match=r"images of 64 x 96 pixels are too small .* 200 objects"):
        family_of(detector).run(detector, pixels, mask, all_layers=True)
