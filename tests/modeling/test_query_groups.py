"""Query groups: every family, nothing of them in the model, one gradient, and groups that see no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.modeling.compute import checkpoint_activations
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.task import DetectionTask
from tests.family_models import VARIANTS, family_detector
from tests.tiny_models import LABELS, gradient_difference, gradients, random_batch, tiny_detector

EXACT = 1e-9  # in float64
GROUPS = 3
SIZES = [(64, 64), (32, 64), (64, 32)]  # two are padded
WITHOUT = "deformable_detr_two_stage"
DETECTORS = ["detr", *(variant for variant in VARIANTS if variant != WITHOUT)]


def detector_of(variant: str) -> Any:
    return tiny_detector() if variant == "detr" else family_detector(variant)


def task_of(variant: str, groups: int = GROUPS) -> DetectionTask:
    torch.manual_seed(1)
    return DetectionTask(detector_of(variant), LABELS, query_groups=groups).eval()


def own_queries(task: DetectionTask) -> Tensor:
    return getattr(task.model.model, task.family.query_embedding(task.model.config) or "").weight


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", DETECTORS)
def test_the_models_own_group_is_the_model_and_groups_do_not_see_one_another(variant: str) -> None:
    task = task_of(variant)
    assert task.groups is not None
    pixels, mask, _ = random_batch([2, 1, 3], SIZES)
    with torch.no_grad():
        alone = task.family.run(task.model, pixels, mask, all_layers=True)
        first = task.groups.further[: len(own_queries(task))]
        first.copy_(own_queries(task))  # the second group stays another
        grouped = task.run(pixels, mask)
    # stock keeps a part of DAB-DETR's position embedding in float32
    close = 1e-5 if variant == "dab_detr" else EXACT
    for name in ("logits", "boxes_cxcywh_norm"):
        like, unlike, own = getattr(grouped, name).chunk(GROUPS)
        for group in (like, own):
            torch.testing.assert_close(group, getattr(alone, name), rtol=close, atol=close)
        assert (unlike - own).abs().max() > 1e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", DETECTORS)
def test_the_loss_is_the_mean_over_groups_that_are_matched_by_themselves(variant: str) -> None:
    task, batch = task_of(variant), random_batch([3, 0, 9], SIZES)  # 9: more than there are queries
    assert task.groups is not None
    own, plain = own_queries(task), task_of(variant, groups=1)
    normalizers = plain.normalizers(batch[2])
    assert task.normalizers(batch[2]) == normalizers
    losses = []
    for queries in (*task.groups.further.detach().chunk(GROUPS - 1), own.detach()):
        own_queries(plain).data.copy_(queries)
        losses.append(plain(*batch, normalizers)["loss"].item())
    terms, of_own = task(*batch, normalizers), plain(*batch, normalizers)
    assert terms["loss"].item() == pytest.approx(sum(losses) / GROUPS, rel=EXACT)
    assert terms["loss_groups"].item() == pytest.approx(sum(losses[:-1]) / (GROUPS - 1), rel=EXACT)
    for name in ("loss_ce", "loss_bbox", "loss_giou", "loss_auxiliary"):
        assert terms[name].item() == pytest.approx(of_own[name].item(), rel=EXACT), name


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", DETECTORS)
def test_one_gradient_however_the_step_is_cut(variant: str) -> None:
    pixels, mask, targets = random_batch([3, 0, 1, 9], [SIZES[0], *SIZES])
    found = {}
    for size in (4, 2, 1):
        task, total = task_of(variant), 0.0
        whole = task.normalizers(targets)
        for start in range(0, 4, size):
            cut = slice(start, start + size)
            loss = task(pixels[cut], mask[cut], targets[cut], whole)["loss"]
            loss.backward()
            total += loss.item()
        found[size] = total, gradients(task)
    assert found[4][1]["groups.further"].abs().sum(1).all(), "every query of every group learns"
    for size in (2, 1):
        assert found[size][0] == pytest.approx(found[4][0], rel=EXACT)
        assert gradient_difference(found[size][1], found[4][1]) < EXACT


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("variant", ["detr", "conditional_detr", "deformable_detr"])
def test_gradient_checkpointing_changes_nothing(variant: str) -> None:
    """Guards: groups that are parted in the forward pass alone; layers run again in the backward pass."""
    batch, found = random_batch([3, 1]), []
    for checkpointing in (False, True):
        task = task_of(variant).train()
        if checkpointing:
            checkpoint_activations(task.model, task.family.backbone(task.model))
        torch.manual_seed(0)
        task(*batch, task.normalizers(batch[2]))["loss"].backward()
        found.append(gradients(task))
    assert gradient_difference(*found) < EXACT


@pytest.mark.parametrize("variant", DETECTORS)
def test_nothing_of_them_is_in_the_model_and_it_predicts_as_before(variant: str) -> None:
    task, plain = task_of(variant), detector_of(variant)
    pixels, mask, targets = random_batch([2, 1])
    task(pixels, mask, targets, task.normalizers(targets))["loss"].backward()
    assert task.model.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        before, after = plain(pixels, pixel_mask=mask), task.model(pixels, pixel_mask=mask)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.pred_boxes, before.pred_boxes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [WITHOUT, "patterns"])
def test_queries_that_are_no_rows_of_an_embedding_are_refused(settings: str) -> None:
    patterns = settings == "patterns"
    detector = family_detector("dab_detr", num_patterns=3) if patterns else family_detector(settings)
    with pytest.raises(UserError, match=rf"loss\.query_groups: .*{family_of(detector).name}.*remove it"):
        DetectionTask(detector, LABELS, query_groups=2)
