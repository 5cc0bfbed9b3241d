"""Learning rates and weight decay, parameter by parameter."""

from __future__ import annotations

import pytest

from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.parameters import parameter_groups
from detr_hf.recipe import DetectionLoss, Optim
from tests.tiny_models import LABELS, tiny_detector


def settings(optim: Optim) -> tuple[DetectionTask, dict[int, dict]]:
    """A task with a frozen stem, and the group of every parameter by identity."""
    model = tiny_detector()
    freeze_backbone(model, "stem_and_first_stage")
    task = DetectionTask(model, LABELS, DetectionLoss())
    groups = parameter_groups(task, optim)
    return task, {id(parameter): group for group in groups for parameter in group["params"]}


def test_rates_and_decay_of_every_parameter() -> None:
    task, group_of = settings(
        Optim(epochs=1, lr=3e-4, backbone_lr=2e-5, class_head_lr=1e-3, weight_decay=0.05)
    )
    learning = {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert len(group_of) == len(learning) < len(list(task.parameters()))
    for name, parameter in learning.items():
        group = group_of[id(parameter)]
        rate = 2e-5 if ".backbone." in name else 1e-3 if "class_labels" in name else 3e-4
        plain = name.endswith("bias") or "norm" in name
        assert (group["lr"], group["weight_decay"]) == (rate, 0.0 if plain else 0.05), name


def test_groups_are_named_and_hold_every_parameter_once() -> None:
    task, _ = settings(Optim(epochs=1))
    groups = {group["name"]: group for group in parameter_groups(task, Optim(epochs=1))}
    # the batch norms of a ResNet inside DETR are no parameters
    assert set(groups) == {"backbone", "class_head", "class_head, no decay", "other", "other, no decay"}
    ids = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert groups["class_head, no decay"]["params"][0] is task.model.class_labels_classifier.bias


def test_default_rates() -> None:
    task, _ = settings(Optim(epochs=1))
    rates = {group["name"]: group["lr"] for group in parameter_groups(task, Optim(epochs=1, lr=2e-4))}
    assert rates["backbone"] == pytest.approx(1e-5)
    assert rates["class_head"] == rates["other"] == pytest.approx(2e-4)


def test_a_frozen_backbone_has_no_group() -> None:
    model = tiny_detector()
    freeze_backbone(model, "all")
    groups = parameter_groups(DetectionTask(model, LABELS, DetectionLoss()), Optim(epochs=1))
    assert not any(group["name"].startswith("backbone") for group in groups)


def test_norms_of_a_convnext_are_not_decayed() -> None:
    model = tiny_detector("test_convnext3")
    groups = {group["name"]: group for group in parameter_groups(model, Optim(epochs=1))}
    spared = {id(parameter) for parameter in groups["backbone, no decay"]["params"]}
    for name, parameter in model.model.backbone.model.named_parameters():
        assert (id(parameter) in spared) == (parameter.ndim == 1), name


@pytest.mark.parametrize(("backbone", "last"), [("test_resnet", "layer4"), ("test_convnext3", "stages_3")])
def test_rates_fall_from_the_last_stage_of_the_backbone_to_the_stem(backbone: str, last: str) -> None:
    model = tiny_detector(backbone)
    freeze_backbone(model, "stem_and_first_stage")  # the frozen ones are counted all the same
    task = DetectionTask(model, LABELS, DetectionLoss())
    optim = Optim(epochs=1, backbone_lr=8e-5, backbone_layer_decay=0.5)
    rates = {group["name"].removesuffix(", no decay"): group["lr"] for group in parameter_groups(task, optim)}
    backbone_rates = [rate for name, rate in rates.items() if name.startswith("backbone")]
    assert backbone_rates == pytest.approx([2e-5, 4e-5, 8e-5])
    assert rates[f"backbone {last}"] == 8e-5 and rates["other"] == optim.lr
    everything = parameter_groups(DetectionTask(tiny_detector(backbone), LABELS, DetectionLoss()), optim)
    stem = next(group for group in everything if group["name"].startswith("backbone stem"))
    assert stem["lr"] == pytest.approx(8e-5 / 16)
