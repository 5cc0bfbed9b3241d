"""The loop: equal steps however they are cut, the right stops, the right checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Tensor
from torch.optim import SGD

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe
from detr_hf.training import engine, loop
from detr_hf.training.engine import EvaluationResult, optimizer_step
from detr_hf.training.loop import train
from detr_hf.training.nonfinite import NonFiniteLossError
from detr_hf.training.optim import build_schedule
from detr_hf.training.signals import SignalHandler
from detr_hf.training.state import Run
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import (
    ALL_LABELS,
    NO_DROPOUT,
    assembled,
    detection_recipe,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
    weights,
)

SIZES = [(96, 128)]


def recipe_of(stage: str, folder: Path, *overrides: str, output: str = "run") -> Recipe:
    """Batches of four out of eight pictures, one or two of them without an object; no dropout.

    All of one size: where a batch is padded, the convolutions next to the padding see it.
    """
    if stage == "detection":
        split = write_coco_detection(folder / "data", count=8, empty=2, sizes_hw=SIZES)
        start = save_detector(folder / "start", **NO_DROPOUT)
        return detection_recipe(folder / output, split, start, *overrides)
    split = write_coco_panoptic(folder / "data", count=8, sizes_hw=SIZES, mend=without_segments)
    Image.new("RGB", (128, 96)).save(folder / "data" / "panoptic" / "10_map.png")
    start = save_detector(folder / "stage1", ALL_LABELS, **NO_DROPOUT)
    head = save_segmenter(folder / "head", **NO_DROPOUT)
    return panoptic_recipe(folder / output, split, start, head, *overrides)


def without_segments(content: dict[str, Any]) -> None:
    """The first image becomes a negative: nothing but void."""
    content["annotations"][0]["segments_info"] = []


def steps_of_plain_descent(run: Run, steps: int) -> dict[str, Tensor]:
    """Weights after so many steps of gradient descent: AdamW would blow rounding up to its learning rate."""
    learning = [parameter for parameter in run.task.parameters() if parameter.requires_grad]
    optimizer = SGD(learning, lr=0.1)
    schedule = build_schedule(optimizer, run.recipe.optim.schedule, run.total_steps)
    plain = replace(run, optimizer=run.accelerator.prepare(optimizer), schedule=schedule)
    plain.task.train()
    batches = iter(plain.train_loader)
    for _ in range(steps):
        optimizer_step(
            plain, [next(batches) for _ in range(plain.train_loader.sampler.micro_batches_per_step)]
        )
    return weights(plain)


@pytest.mark.parametrize("stage", ["detection", "panoptic", "both"])
def test_a_step_is_the_same_however_it_is_cut_into_micro_batches(stage: str, tmp_path: Path) -> None:
    """Guards: a mean over every micro-batch would weigh the objects of a crowded picture less."""
    together = ["model.freeze_detector=false"] if stage == "both" else []
    found, started = {}, {}
    for micro in (4, 2, 1):
        kind = "panoptic" if stage == "both" else stage
        recipe = recipe_of(kind, tmp_path, f"optim.micro_batch_size={micro}", *together, output=f"run{micro}")
        run = assembled(recipe)
        started[micro] = weights(run)
        found[micro] = steps_of_plain_descent(run, 2)
        AcceleratorState._reset_state(reset_partial_state=True)
    moved = max(float((found[4][name] - started[4][name]).abs().max()) for name in found[4])
    assert moved > 1e-3, "the steps must do something"
    for micro in (2, 1):
        for name, value in found[4].items():
            assert torch.equal(started[micro][name], started[4][name]), name
            torch.testing.assert_close(found[micro][name], value, atol=1e-6, rtol=0, msg=f"{micro} {name}")


def test_loss_and_bar_are_of_the_whole_step_on_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: a process knows its own share of the loss only, an eighth of it on eight processes."""
    run = assembled(recipe_of("detection", tmp_path, "log_every=1", "optim.max_steps=1"))
    shown: list[str] = []

    class Bar(list[int]):
        def __init__(self, steps: Iterable[int], *_: Any, **__: Any) -> None:
            super().__init__(steps)

        def set_postfix_str(self, told: str) -> None:
            shown.append(told)

    own: list[Tensor] = []

    def as_on_another(_: Accelerator, share: Tensor, reduction: str) -> Tensor:
        own.append(share)
        return share + 2 * share

    monkeypatch.setattr(engine, "progress", Bar)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 2))
    monkeypatch.setattr(Accelerator, "reduce", as_on_another)
    engine.train_one_epoch(run, SignalHandler(run.recipe, run.accelerator, 0.0))
    _, step_shares, *_ = own  # of the normalizers, of the step, of what the signals say
    line = lines_of(run.folder)[0]
    assert line["loss"] == pytest.approx(3 * float(step_shares[2]))
    assert shown == [f"loss {line['loss']:.3f}, run: 0 s left"]
    total = line["loss_ce"] + 5 * line["loss_bbox"] + 2 * line["loss_giou"] + line["loss_auxiliary"]
    assert line["loss"] == pytest.approx(total, rel=1e-5)


def test_the_frozen_detector_is_bit_identical_after_training(tmp_path: Path) -> None:
    run = assembled(recipe_of("panoptic", tmp_path, "optim.epochs=1"))
    before = weights(run)
    train(run)
    after = weights(run)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("detr."), name


def poison(run: Run, term: str, at_step: int) -> None:
    """Make one term of the loss (and the loss) NaN at a step, counted from 1."""
    real = run.task.forward

    def forward(*arguments: Any, **named: Any) -> dict[str, Tensor]:
        terms = real(*arguments, **named)
        if run.state.step + 1 == at_step:
            terms = {**terms, term: terms[term] * float("nan"), "loss": terms["loss"] * float("nan")}
        return terms

    run.ddp_task.forward = forward  # type: ignore[method-assign]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    """Guards: NaN, which stock matching reports as boxes that are not in corner format."""
    run = assembled(recipe_of("detection", tmp_path, "optim.skip_non_finite=0"))
    poison(run, "loss_giou", at_step=2)
    with pytest.raises(NonFiniteLossError) as caught:
        train(run)
    message = str(caught.value)
    assert message.startswith("step 2: the loss is not finite (terms: loss, loss_giou; image ids: ")
    named = message.split("image ids: ")[1].split(")")[0].split(", ")
    assert len(named) == 4 and {int(one) for one in named} <= set(range(10, 18))
    assert issubclass(NonFiniteLossError, UserError), "told without a traceback"


def test_weights_that_are_not_finite_stop_the_run_by_the_loss_not_by_the_matching(tmp_path: Path) -> None:
    """Guards: scipy refuses costs that are NaN with a message that names neither step nor image."""
    run = assembled(recipe_of("detection", tmp_path, "optim.skip_non_finite=0"))
    with torch.no_grad():
        run.task.model.class_labels_classifier.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"step 1: .*terms: loss, loss_ce"):
        train(run)


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights_change(tmp_path: Path) -> None:
    run = assembled(recipe_of("detection", tmp_path, "optim.skip_non_finite=0"))
    before = weights(run)
    parameter = next(parameter for parameter in run.task.parameters() if parameter.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is not finite \(terms: gradient;"):
        train(run)
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())


class Scores:
    """Stands in for `evaluate`: the given box APs one after the other, and the steps they were asked at."""

    def __init__(self, values: Sequence[float]):
        self.values, self.calls = list(values), 0

    def __call__(self, *_: Any) -> EvaluationResult:
        value = self.values[self.calls]
        self.calls += 1
        return EvaluationResult({"detection": {"AP": value, "AP50": 0.0, "AR": 1 - (value or 0)}}, None)


def scored(folder: Path, monkeypatch: pytest.MonkeyPatch, values: Sequence[float], *overrides: str) -> Scores:
    scores = Scores(values)
    monkeypatch.setattr(loop, "evaluate", scores)
    train(assembled(recipe_of("detection", folder, *overrides)))
    return scores


def best_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "best" / "metrics.json").read_text())


def test_best_is_the_highest_score_and_the_first_of_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(tmp_path, monkeypatch, [0.2, 0.5, 0.5, 0.1], "optim.epochs=4")
    assert (best_of(tmp_path)["epoch"], best_of(tmp_path)["step"]) == (2, 4)


def test_best_goes_by_the_number_the_recipe_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(tmp_path, monkeypatch, [0.2, 0.5], "checkpoint.best=AR")
    assert best_of(tmp_path)["epoch"] == 1


def test_without_an_object_to_score_the_latest_model_is_kept_and_the_score_is_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unmeasured: Any = None
    scored(tmp_path, monkeypatch, [unmeasured, unmeasured])
    assert best_of(tmp_path)["epoch"] == 2
    printed = capsys.readouterr().out
    assert re.search(r"^epoch 1/2: loss [\d.]+; AP - \(AP50 0.000, AR 1\); \d+ s, ", printed, re.M)
    assert "AP is undefined" in printed
    assert "AP 0.000" not in printed


def test_a_score_that_could_not_be_measured_never_replaces_one_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured: Any = None
    scored(tmp_path, monkeypatch, [0.1, unmeasured])
    assert best_of(tmp_path)["epoch"] == 1


def test_evaluation_every_so_many_epochs_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = scored(tmp_path, monkeypatch, [0.1, 0.2, 0.3], "optim.epochs=5", "evaluation.every=2")
    assert scores.calls == 3
    kinds = [(line["kind"], line["step"]) for line in lines_of(tmp_path / "run")]
    assert [step for kind, step in kinds if kind == "validation"] == [4, 8, 10]
    assert [step for kind, step in kinds if kind == "train"] == [2, 4, 6, 8, 10]


def test_max_steps_stops_inside_an_epoch_and_still_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = scored(tmp_path, monkeypatch, [0.1, 0.2], "optim.epochs=9", "optim.max_steps=3")
    assert scores.calls == 2
    state = json.loads((tmp_path / "run" / "last" / "training_state.json").read_text())
    assert state["state"]["step"] == 3


def test_the_log_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(tmp_path, monkeypatch, [0.1], "optim.epochs=1", "optim.lr=1e-3", "optim.backbone_lr=1e-4")
    line = lines_of(tmp_path / "run")[0]
    assert (line["step"], line["kind"], line["epoch"]) == (2, "train", 1)
    assert {
        "loss",
        "loss_ce",
        "loss_bbox",
        "loss_giou",
        "loss_auxiliary",
        "gradient_norm",
        "images_per_second",
    } <= set(line)
    total = line["loss_ce"] + 5 * line["loss_bbox"] + 2 * line["loss_giou"] + line["loss_auxiliary"]
    assert line["loss"] == pytest.approx(total, rel=1e-5)
    assert set(line["lr"]) == {"backbone", "class_head", "class_head, no decay", "other", "other, no decay"}


def test_one_step_in_bfloat16_keeps_weights_in_float32(tmp_path: Path) -> None:
    run = assembled(recipe_of("detection", tmp_path, "mixed_precision=bf16", "optim.max_steps=1"))
    train(run)
    assert {value.dtype for value in run.task.parameters()} == {torch.float32}
    assert run.state.step == 1
