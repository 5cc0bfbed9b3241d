"""Learning rates by hand-worked numbers, groups of parameters, and a schedule that continues."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from detr_hf.errors import UserError
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.task import DetectionTask
from detr_hf.recipe import Optim, Schedule
from detr_hf.training.optim import build_optimizer, build_schedule, parameter_groups, rate_multiplier
from tests.tiny_models import LABELS, tiny_detector


def multipliers(schedule: Schedule, steps: int) -> list[float]:
    return [rate_multiplier(schedule, step, steps) for step in range(steps)]


def test_step_drops_once_at_its_share_of_the_run() -> None:
    found = multipliers(Schedule(name="step", drop_at=0.75, factor=0.1), 8)
    assert found == [1, 1, 1, 1, 1, 1, 0.1, 0.1]


def test_the_drop_is_not_moved_by_rounding_of_floats() -> None:
    """0.55 * 100 is 55.00000000000001 in floats; step 55, counted from 0, is the first after the drop."""
    found = multipliers(Schedule(name="step", drop_at=0.55, factor=0.5), 100)
    assert found.index(0.5) == 55


def test_cosine_falls_from_one_towards_zero() -> None:
    found = multipliers(Schedule(name="cosine"), 4)
    assert found == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])
    assert rate_multiplier(Schedule(name="cosine"), 4, 4) == pytest.approx(0)


def test_constant_stays() -> None:
    assert multipliers(Schedule(name="constant"), 3) == [1, 1, 1]


def test_warm_up_rises_in_equal_parts_and_then_the_schedule_begins() -> None:
    found = multipliers(Schedule(name="constant", warmup_steps=3), 5)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    cosine = multipliers(Schedule(name="cosine", warmup_steps=2), 6)
    assert cosine == pytest.approx([1 / 3, 2 / 3, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


def test_a_run_that_ends_inside_its_warm_up_is_refused() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(
        UserError, match=r"optim\.schedule\.warmup_steps: 5 steps, but the whole run has only 5"
    ):
        build_schedule(optimizer, Schedule(warmup_steps=5), total_steps=5)


@pytest.mark.parametrize("name", ["step", "cosine"])
def test_a_schedule_goes_on_where_it_was(name: str) -> None:
    """The rates of steps 3 to 9 are the same whether the run was cut off after step 3 or not."""
    schedule = Schedule(name=name, drop_at=0.6, warmup_steps=2)  # type: ignore[arg-type]

    def rates(steps_done: int) -> list[float]:
        parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
        optimizer = SGD(
            [{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}], lr=5.0
        )
        built = build_schedule(optimizer, schedule, 10, steps_done)
        found = []
        for _ in range(steps_done, 10):
            found += [group["lr"] for group in optimizer.param_groups]
            optimizer.step()
            built.step()
        return found

    assert rates(3) == pytest.approx(rates(0)[6:])
    assert rates(0)[:2] == pytest.approx([1 / 3, 0.1 / 3])


def test_groups_have_their_rates_and_only_matrices_decay() -> None:
    optimizer = build_optimizer(
        DetectionTask(tiny_detector(), LABELS), Optim(epochs=1, lr=1e-3, backbone_lr=1e-4, weight_decay=0.5)
    )
    assert isinstance(optimizer, AdamW)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["backbone"]["lr"] == 1e-4 and groups["other"]["lr"] == 1e-3
    assert groups["other"]["weight_decay"] == 0.5 and groups["other, no decay"]["weight_decay"] == 0
    assert all(p.ndim > 1 for p in groups["other"]["params"])
    assert all(p.ndim == 1 for p in groups["other, no decay"]["params"])


def test_the_order_of_groups_and_parameters_is_that_of_the_model() -> None:
    tasks = [DetectionTask(tiny_detector(seed=seed), LABELS) for seed in (0, 1)]
    first, second = (build_optimizer(task, Optim(epochs=1)) for task in tasks)
    assert [g["name"] for g in first.param_groups] == [g["name"] for g in second.param_groups]
    for one, other in zip(first.param_groups, second.param_groups, strict=True):
        assert [p.shape for p in one["params"]] == [p.shape for p in other["params"]]


# ---- groups


def settings(optim: Optim) -> tuple[DetectionTask, dict[int, dict]]:
    """A task with a frozen stem, and the group of every parameter by identity."""
    model = tiny_detector()
    freeze_backbone(model.model.backbone, "stem_and_first_stage")
    task = DetectionTask(model, LABELS)
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
    freeze_backbone(model.model.backbone, "all")
    groups = parameter_groups(DetectionTask(model, LABELS), Optim(epochs=1))
    assert not any(group["name"].startswith("backbone") for group in groups)


def test_norms_of_a_convnext_are_not_decayed() -> None:
    model = tiny_detector("test_convnext3")
    groups = {
        group["name"]: group for group in parameter_groups(DetectionTask(model, LABELS), Optim(epochs=1))
    }
    spared = {id(parameter) for parameter in groups["backbone, no decay"]["params"]}
    for name, parameter in model.model.backbone.model.named_parameters():
        assert (id(parameter) in spared) == (parameter.ndim == 1), name


@pytest.mark.parametrize(("backbone", "last"), [("test_resnet", "layer4"), ("test_convnext3", "stages_3")])
def test_rates_fall_from_the_last_stage_of_the_backbone_to_the_stem(backbone: str, last: str) -> None:
    model = tiny_detector(backbone)
    freeze_backbone(model.model.backbone, "stem_and_first_stage")  # the frozen ones are counted all the same
    task = DetectionTask(model, LABELS)
    optim = Optim(epochs=1, backbone_lr=8e-5, backbone_layer_decay=0.5)
    rates = {group["name"].removesuffix(", no decay"): group["lr"] for group in parameter_groups(task, optim)}
    backbone_rates = [rate for name, rate in rates.items() if name.startswith("backbone")]
    assert backbone_rates == pytest.approx([2e-5, 4e-5, 8e-5])
    assert rates[f"backbone {last}"] == 8e-5 and rates["other"] == 1e-4
    everything = parameter_groups(DetectionTask(tiny_detector(backbone), LABELS), optim)
    stem = next(group for group in everything if group["name"].startswith("backbone stem"))
    assert stem["lr"] == pytest.approx(8e-5 / 16)
