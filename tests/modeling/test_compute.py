"""Checkpointed and compiled layers compute what plain ones do."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models import FeatureDictNet
from torch import Tensor
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from detr_hf.errors import UserError
from detr_hf.modeling.compute import (
    checkpoint_activations,
    compile_layers,
    norm_in_one_pass,
    one_pass,
)
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.task import DetectionTask
from tests.family_models import VARIANTS, family_detector
from tests.tiny_models import LABELS, random_batch, tiny_detector

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


def gradients(task: DetectionTask) -> dict[str, Tensor]:
    pixel_values, pixel_mask, targets = random_batch([3, 2])
    losses = task.train()(pixel_values, pixel_mask, targets, task.normalizers(targets))
    losses["loss"].backward()
    return {name: value.grad for name, value in task.named_parameters() if value.grad is not None}


def task_of(backbone: str = "test_resnet", **settings: float) -> DetectionTask:
    return DetectionTask(tiny_detector(backbone, **settings), LABELS)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext3"])
def test_checkpointed_gradients_are_equal_with_auxiliary_losses(backbone: str) -> None:
    """guards: reentrant checkpointing, where recorded layers have no gradient and say so nowhere."""
    plain = gradients(task_of(backbone, **NO_DROPOUT))
    task = task_of(backbone, **NO_DROPOUT)
    runs: list[str] = []
    for name, module in task.named_modules():
        if name.endswith(("encoder.layers.0", "decoder.layers.1")):
            module.mlp.fc1.register_forward_hook(lambda *_, name=name: runs.append(name))
    checkpoint_activations(task.model, task.model.model.backbone)
    found = gradients(task)
    assert sorted(runs) == sorted(2 * list(set(runs))) and len(runs) == 4, "computed twice"
    assert found.keys() == plain.keys() and len(plain) > 100
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpointed_gradients_of_every_family_are_equal(variant: str) -> None:
    """Guards: a checkpointing that stock refuses DAB-DETR, whose layers can do it as the others' can."""
    plain = gradients(DetectionTask(family_detector(variant, **NO_DROPOUT), LABELS))
    task = DetectionTask(family_detector(variant, **NO_DROPOUT), LABELS)
    runs: list[str] = []
    for name, module in task.named_modules():
        if name.endswith(("encoder.layers.0", "decoder.layers.0", "decoder.layers.1")):
            first = next(one for one in module.modules() if isinstance(one, torch.nn.Linear))
            first.register_forward_hook(lambda *_, name=name: runs.append(name))
    checkpoint_activations(task.model, task.family.backbone(task.model))
    found = gradients(task)
    assert sorted(runs) == sorted(2 * list(set(runs))) and len(runs) == 6, "computed twice"
    assert found.keys() == plain.keys() and len(plain) > 100
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_checkpointing_repeats_the_same_dropout() -> None:
    """guards: another dropout mask in the second forward pass than the losses came from."""
    found = []
    for checkpointed in (False, True):
        task = task_of(dropout=0.3)
        if checkpointed:
            checkpoint_activations(task.model, task.model.model.backbone)
        torch.manual_seed(3)
        found.append(gradients(task))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_a_backbone_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = tiny_detector()
    monkeypatch.delattr(FeatureDictNet, "set_grad_checkpointing")
    with pytest.raises(UserError, match=r"compute\.gradient_checkpointing: the backbone"):
        checkpoint_activations(detector, detector.model.backbone)


@pytest.mark.slow
def test_compiled_layers_give_equal_gradients_and_keep_their_names() -> None:
    """Traced by dynamo, run eagerly: another size does not make it compile anew for ever."""
    plain, task = task_of(**NO_DROPOUT), task_of(**NO_DROPOUT)
    names = list(task.state_dict())
    compile_layers(DETR.compilable(task.model), backend="eager")
    found, wanted = gradients(task), gradients(plain)
    assert list(task.state_dict()) == names
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_parts_of_every_family_give_equal_gradients(variant: str) -> None:
    plain, task = (DetectionTask(family_detector(variant, **NO_DROPOUT), LABELS) for _ in range(2))
    names = list(task.state_dict())
    parts = task.family.compilable(task.model)
    compile_layers(parts, backend="eager")
    found, wanted = gradients(task), gradients(plain)
    assert parts and list(task.state_dict()) == names
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("float64")
def test_norms_in_one_pass_are_those_of_stock() -> None:
    """guards: a mean, variance, scale or epsilon in the wrong place; and weights under other names."""
    stock = tiny_detector()
    ours = copy.deepcopy(stock)
    norm_in_one_pass(ours.model.backbone)
    norms = [module for module in ours.modules() if type(module) is one_pass(DetrFrozenBatchNorm2d)]
    assert len(norms) == sum(isinstance(module, DetrFrozenBatchNorm2d) for module in stock.modules()) > 5
    norms[0].running_var.fill_(1e-5)  # where the epsilon counts
    stock.load_state_dict(ours.state_dict())
    pixel_values, pixel_mask, _ = random_batch([1, 1])
    with torch.no_grad():
        maps = [model.model.backbone(pixel_values, pixel_mask) for model in (ours, stock)]
    for (found, _), (expected, _) in zip(*maps, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gradients_wanted", [True, False])
def test_norms_in_one_pass_only_where_no_gradient_is_recorded(gradients_wanted: bool) -> None:
    """guards: maps kept for a backward pass that the stock formula does not need."""
    stock, ours = DetrFrozenBatchNorm2d(4), one_pass(DetrFrozenBatchNorm2d)(4)
    pixels = torch.randn(2, 4, 3, 3, requires_grad=True)
    with torch.set_grad_enabled(gradients_wanted):
        names = [type(norm(pixels).grad_fn).__name__ for norm in (stock, ours)]
    assert names == (["AddBackward0"] * 2 if gradients_wanted else ["NoneType"] * 2)


def test_norms_in_one_pass_keep_the_precision_of_stock_under_autocast() -> None:
    """guards: bfloat16 maps where the stock formula gives float32."""
    pixels = torch.randn(2, 4, 3, 3).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (
            one_pass(DetrFrozenBatchNorm2d)(4)(pixels).dtype
            == DetrFrozenBatchNorm2d(4)(pixels).dtype
            == torch.float32
        )
