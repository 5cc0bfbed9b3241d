"""Stopping early: signals, the time limit, and saves on the way."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from detr_hf import stop_signals
from detr_hf.errors import INTERRUPTED, STOPPED, StoppedEarly, exit_with_message
from detr_hf.recipe import Recipe, recipe_from_text, seconds_of
from detr_hf.training import engine, loop
from detr_hf.training.checkpoint import find_checkpoint, step_of
from detr_hf.training.loop import train
from detr_hf.training.signals import SignalHandler
from detr_hf.training.state import Run
from tests.factories import write_coco_detection
from tests.tiny_runs import assembled, detection_recipe, lines_of, save_detector, weights


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Those of a terminal: a shell's `&` starts the tests with Ctrl-C ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, two epochs of two steps; and the weights that such a run ends with."""
    folder = tmp_path_factory.mktemp("home")
    write_coco_detection(folder / "data", count=8)
    save_detector(folder / "start")
    run = assembled(recipe_of(folder, "whole"))
    train(run)
    torch.save(weights(run), folder / "weights.pt")
    return folder


def recipe_of(home: Path, output: str, *overrides: str) -> Recipe:
    from detr_hf.recipe import Split

    split = Split(annotations=str(home / "data" / "annotations.json"), images=str(home / "data" / "images"))
    return detection_recipe(home / output, split, home / "start", *overrides)


def ends_as_the_whole_run(home: Path, recipe: Recipe) -> Run:
    """Start the recipe again and compare."""
    AcceleratorState._reset_state(reset_partial_state=True)
    run = assembled(recipe)
    train(run)
    for name, value in torch.load(home / "weights.pt").items():
        assert torch.equal(value, run.task.model.state_dict()[name]), name
    kinds = [(line["step"], line["kind"]) for line in lines_of(run.folder)]
    assert kinds == [(2, "train"), (2, "validation"), (4, "train"), (4, "validation")]
    return run


def signal_after(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal in the middle of a step."""
    real = engine.optimizer_step

    def stepped(run: Run, batches: list[Any]) -> dict[str, float]:
        if run.state.step + 1 == step:
            signal.raise_signal(number)
        return real(run, batches)

    monkeypatch.setattr(engine, "optimizer_step", stepped)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 3), (signal.SIGINT, 2)])
def test_a_signal_ends_the_run_after_the_step_and_the_next_start_goes_on(
    number: int,
    step: int,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At step 3 inside an epoch; at step 2 at its end, where the evaluation is left to the next start."""
    recipe = recipe_of(home, f"signal{number}")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signal_after(step, number, patch)
        with pytest.raises(StoppedEarly):
            train(assembled(recipe))
    assert signal.getsignal(number) is before, "handlers are given back"
    folder = Path(recipe.output_dir)
    name = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    assert f"stopped by {name} after step {step} of 4; saved as {folder / 'last'}" in capsys.readouterr().out
    found = find_checkpoint(folder, "auto")
    assert found is not None and step_of(found) == step
    ends_as_the_whole_run(home, recipe)


def test_a_signal_during_evaluation_gives_it_up_and_the_next_start_makes_it_good(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(home, "evaluation", "evaluation.batch_size=1")
    run = assembled(recipe)
    predicted = []

    def predict(*arguments: Any) -> Any:
        predicted.append(1)
        if len(predicted) == 2:
            signal.raise_signal(signal.SIGTERM)
        return type(run.task).predict(run.task, *arguments)

    run.task.predict = predict  # type: ignore[method-assign]
    with pytest.raises(StoppedEarly):
        train(run)
    assert len(predicted) == 2, "of eight pictures"
    assert not (run.folder / "best").exists()
    ends_as_the_whole_run(home, recipe)


def test_the_time_limit_saves_and_stops(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(home, "limit", "time_limit=1h30m")
    run = assembled(recipe)
    with pytest.raises(StoppedEarly):
        train(run, started=time.monotonic() - 5400 + 0.01)
    assert "the time limit is reached after step 1 of 4" in capsys.readouterr().out
    ends_as_the_whole_run(home, recipe)


def test_a_signal_after_the_last_step_lets_the_run_finish_next_time_only_if_something_is_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(home, "end")
    with monkeypatch.context() as patch:
        signal_after(4, signal.SIGTERM, patch)
        with pytest.raises(StoppedEarly):
            train(assembled(recipe))
    run = ends_as_the_whole_run(home, recipe)
    done = assembled(recipe)
    train(done)
    assert done.state == run.state, "nothing was left to do"


def test_saves_every_so_many_steps_and_minutes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    for module in (engine, loop):
        monkeypatch.setattr(module, "save_training", lambda run: saved.append(run.state.step))
    train(assembled(recipe_of(home, "steps", "optim.max_steps=2", "evaluation.every=9")))
    assert saved == [2]
    saved.clear()
    AcceleratorState._reset_state(reset_partial_state=True)
    train(assembled(recipe_of(home, "minutes", "optim.max_steps=2", "checkpoint.every_minutes=1e-9")))
    assert saved == [1, 2]


def any_recipe() -> Recipe:
    return recipe_from_text("{task: detection, output_dir: out, data: {demo: {}}, optim: {epochs: 1}}", [])


def test_a_second_ctrl_c_ends_at_once_but_not_the_launchers_copy_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards: a terminal sends Ctrl-C to the whole group, and torchrun passes it on once more."""
    clock = [100.0]
    monkeypatch.setattr(stop_signals.time, "monotonic", lambda: clock[0])
    watching = SignalHandler(any_recipe(), Accelerator(), 0.0)
    with watching.watch():
        signal.raise_signal(signal.SIGINT)
        clock[0] += 0.2
        signal.raise_signal(signal.SIGINT)
        assert watching.requested()
        clock[0] += 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_all_processes_stop_when_one_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The votes of two processes are added up; this one alone was told nothing."""
    accelerator = Accelerator()
    watching = SignalHandler(any_recipe(), accelerator, 0.0)
    assert watching.sync(1).reason is None
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 2))
    others = torch.tensor([1.0, 0, 0, 0, 0])
    monkeypatch.setattr(Accelerator, "reduce", lambda _, votes, reduction: votes + others)
    assert watching.sync(1).reason == "stopped by SIGTERM"


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in ((StoppedEarly("x"), STOPPED), (KeyboardInterrupt(), INTERRUPTED)):
        with pytest.raises(SystemExit) as ended, exit_with_message():
            raise error
        assert ended.value.code == code
    assert (STOPPED, INTERRUPTED) == (75, 130)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("11h30m", 41400), ("45m", 2700), ("90s", 90), ("1d2h", 93600), ("1h1s", 3601)],
)
def test_durations(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "11:30", "90", "1.5h", "30m1h", "0h", "-1h", "soon"])
def test_what_is_no_duration(text: str) -> None:
    assert seconds_of(text) is None
