"""Checkpointed and compiled layers compute what plain ones do."""

from __future__ import annotations

import pytest
import torch
from timm.models import FeatureDictNet
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.modeling.compute import checkpoint_activations, compile_layers
from detr_hf.modeling.detection_task import DetectionTask
from detr_hf.recipe import DetectionLoss
from tests.tiny_models import LABELS, random_batch, tiny_detector

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


def gradients(task: DetectionTask) -> dict[str, Tensor]:
    pixel_values, pixel_mask, targets = random_batch([3, 2])
    losses = task.train()(pixel_values, pixel_mask, targets, task.normalisers(targets))
    losses["loss"].backward()
    return {name: value.grad for name, value in task.named_parameters() if value.grad is not None}


def task_of(backbone: str = "test_resnet", **settings: float) -> DetectionTask:
    return DetectionTask(tiny_detector(backbone, **settings), LABELS, DetectionLoss())


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext3"])
def test_checkpointed_gradients_are_equal_with_auxiliary_losses(backbone: str) -> None:
    """guards: reentrant checkpointing, where recorded layers have no gradient and say so nowhere."""
    plain = gradients(task_of(backbone, **NO_DROPOUT))
    task = task_of(backbone, **NO_DROPOUT)
    runs: list[str] = []
    for name, module in task.named_modules():
        if name.endswith(("encoder.layers.0", "decoder.layers.1")):
            module.mlp.fc1.register_forward_hook(lambda *_, name=name: runs.append(name))
    checkpoint_activations(task.model)
    found = gradients(task)
    assert sorted(runs) == sorted(2 * list(set(runs))) and len(runs) == 4, "computed twice"
    assert found.keys() == plain.keys() and len(plain) > 100
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_checkpointing_repeats_the_same_dropout() -> None:
    """guards: another dropout mask in the second forward pass than the losses came from."""
    found = []
    for checkpointed in (False, True):
        task = task_of(dropout=0.3)
        if checkpointed:
            checkpoint_activations(task.model)
        torch.manual_seed(3)
        found.append(gradients(task))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_a_backbone_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = tiny_detector()
    monkeypatch.delattr(FeatureDictNet, "set_grad_checkpointing")
    with pytest.raises(UserError, match=r"compute\.gradient_checkpointing: the backbone"):
        checkpoint_activations(detector)


@pytest.mark.slow
def test_compiled_layers_give_equal_gradients_and_keep_their_names() -> None:
    """Traced by dynamo, run eagerly: another size does not make it compile anew for ever."""
    plain, task = task_of(**NO_DROPOUT), task_of(**NO_DROPOUT)
    names = list(task.state_dict())
    compile_layers(task.model, backend="eager")
    found, wanted = gradients(task), gradients(plain)
    assert list(task.state_dict()) == names
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
