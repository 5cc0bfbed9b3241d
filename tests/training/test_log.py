"""metrics.jsonl, trackers, and what is measured in training: means over steps, and the clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.optim import SGD

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training import log as module
from detr_hf.training.build import build_accelerator
from detr_hf.training.log import Meter, RunLog, Sums, peak_memory_mb, tracker_names


def recipe(folder: Path, *overrides: str) -> Recipe:
    values = {"task": "detection", "output_dir": str(folder), "data": {"demo": {}}, "optim": {"epochs": 1}}
    return recipe_from_text(json.dumps(values), overrides)


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_one_json_object_a_line(tmp_path: Path) -> None:
    log = RunLog(Accelerator(), recipe(tmp_path), 0, "a")
    log.write(3, "train", {"epoch": 1, "loss": 0.5, "lr": {"backbone": 1e-5}})
    log.write(3, "validation", {"detection": {"AP": None}})
    assert read(tmp_path) == [
        {"step": 3, "kind": "train", "epoch": 1, "loss": 0.5, "lr": {"backbone": 1e-5}},
        {"step": 3, "kind": "validation", "detection": {"AP": None}},
    ]


def test_a_run_that_goes_on_drops_the_lines_after_its_step(tmp_path: Path) -> None:
    log = RunLog(Accelerator(), recipe(tmp_path), 0, "a")
    for step in (2, 4, 6):
        log.write(step, "train", {"loss": step / 10})
    with log.path.open("a") as file:
        file.write('{"step": 8, "ki')  # cut off by a kill
    RunLog(Accelerator(), recipe(tmp_path), 4, "a").write(6, "train", {"loss": 9.0})
    assert [(line["step"], line["loss"]) for line in read(tmp_path)] == [(2, 0.2), (4, 0.4), (6, 9.0)]


def test_a_damaged_line_of_the_log_is_dropped(tmp_path: Path) -> None:
    log = RunLog(Accelerator(), recipe(tmp_path), 0, "a")
    log.write(2, "train", {"loss": 0.2})
    with log.path.open("ab") as file:
        file.write(b"\xff\x00\n" + b"[" * 100_000 + b'\n{"step": 3, "kind": "train"}')  # a newline is missing
    RunLog(Accelerator(), recipe(tmp_path), 4, "a").write(6, "train", {"loss": 9.0})
    assert [line["step"] for line in read(tmp_path)] == [2, 3, 6]


def test_a_log_that_is_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl: the file cannot be read \(it is a folder\)"):
        RunLog(Accelerator(), recipe(tmp_path), 0, "a")


def test_a_run_from_the_start_begins_its_log_anew(tmp_path: Path) -> None:
    RunLog(Accelerator(), recipe(tmp_path), 0, "a").write(2, "train", {"loss": 1.0})
    RunLog(Accelerator(), recipe(tmp_path), 0, "a")
    assert read(tmp_path) == []


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda self: False))
    RunLog(Accelerator(), recipe(tmp_path), 0, "a").write(2, "train", {"loss": 1.0})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_tracker_that_is_not_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: Accelerate leaves such a tracker out with a debug line."""
    monkeypatch.setattr(module, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(UserError, match=r"trackers: wandb is not installed \(pip install wandb\)"):
        build_accelerator(recipe(tmp_path, "trackers=[tensorboard, wandb]"))
    assert tracker_names(["tensorboard"]) == ["tensorboard"]


def test_tensorboard_gets_settings_and_nested_numbers_flat(tmp_path: Path) -> None:
    """Guards: TensorBoard refuses nested settings and lists, and leaves out nested numbers."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = recipe(tmp_path, "trackers=[tensorboard]")
    log = RunLog(build_accelerator(chosen), chosen, 0, "a")
    numbers = {"detection": {"AP": 0.25, "AP50": None, "per_class": {"brick": {"AP": 0.75}}}}
    log.write(7, "validation", {"epoch": 1, **numbers})
    log.close()
    events = sorted(tmp_path.rglob("events.out.tfevents.*"))
    assert events
    read_back: dict[str, tuple[int, float]] = {}
    for file in events:
        accumulator = EventAccumulator(str(file)).Reload()
        for tag in accumulator.Tags()["scalars"]:
            event = accumulator.Scalars(tag)[-1]
            read_back[tag] = (event.step, event.value)
    assert read_back["validation/detection.AP"] == (7, 0.25)
    assert read_back["validation/detection.per_class.brick.AP"] == (7, 0.75)
    assert "validation/detection.AP50" not in read_back


def test_the_line_of_an_evaluation_that_is_to_be_made_again_is_dropped(tmp_path: Path) -> None:
    """A run may be killed after the line was written and before the checkpoint that counts it."""
    log = RunLog(Accelerator(), recipe(tmp_path), 0, "a")
    for kind in ("train", "step", "validation"):
        log.write(4, kind, {})
    RunLog(Accelerator(), recipe(tmp_path), 4, "a", evaluated=False)
    assert [line["kind"] for line in read(tmp_path)] == ["train", "step"]


def test_a_resumed_run_is_one_run_to_its_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(Accelerator, "init_trackers", lambda *_, init_kwargs, **__: told.append(init_kwargs))
    chosen = recipe(tmp_path, "trackers=[tensorboard, wandb, trackio]")
    for step in (0, 7):
        RunLog(Accelerator(), chosen, step, "abc")
    same = {"wandb": {"id": "abc", "resume": "allow"}, "trackio": {"name": "abc", "resume": "allow"}}
    assert told == [{**same, "tensorboard": {}}, {**same, "tensorboard": {"purge_step": 8}}]


# ---- what is measured


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def meter_of(epoch_sums: Sums | None = None) -> Meter:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5, "name": "other"}]
    return Meter(SGD(groups), torch.device("cpu"), 8, {} if epoch_sums is None else epoch_sums)


def step(meter: Meter, clock: list[float], loss: float, waited: float = 0.5, worked: float = 1.5) -> None:
    with meter.loading():
        clock[0] += waited
    meter.add({"loss": loss, "gradient_norm": 10 * loss})
    clock[0] += worked
    meter.finish_step()


def test_lines_are_means_over_the_epoch_and_over_the_steps_since_the_last_line(clock: list[float]) -> None:
    meter = meter_of()
    meter.start_clock()
    for loss in (1.0, 2.0):
        step(meter, clock, loss)
    assert meter.window_line()["loss"] == 1.5
    step(meter, clock, 6.0, waited=2.5)
    window = meter.window_line()
    assert (window["loss"], window["data_seconds"], window["step_seconds"]) == (6.0, 2.5, 4.0)
    epoch = meter.epoch_line()
    assert (epoch["loss"], epoch["gradient_norm"], epoch["lr"]) == (3.0, 30.0, {"other": 0.5})
    assert epoch["images_per_second"] == pytest.approx(8 / ((2 + 2 + 4) / 3), abs=0.01)
    assert epoch["memory_mb"] > 50 and "bad_samples" not in epoch
    step(meter, clock, 7.0)
    assert meter.epoch_line()["loss"] == 7.0, "an epoch begins anew"


def test_a_pause_between_steps_is_no_training(clock: list[float]) -> None:
    meter = meter_of()
    step(meter, clock, 1.0)
    clock[0] += 1000.0
    meter.start_clock()
    step(meter, clock, 1.0)
    assert meter.epoch_line()["step_seconds"] == 2.0


def test_a_step_that_was_left_out_does_not_count_but_its_bad_samples_do(clock: list[float]) -> None:
    meter = meter_of()
    step(meter, clock, 1.0)
    meter.add({"bad_samples": 3.0, "loss": float("nan")})
    meter.finish_step()
    line = meter.epoch_line()
    assert (line["loss"], line["gradient_norm"], line["bad_samples"]) == (1.0, 10.0, 3)
    meter.add({"bad_samples": 0.0})
    clock[0] += 1.0
    meter.finish_step()
    line = meter.epoch_line()
    assert line["gradient_norm"] is None and "loss" not in line and "bad_samples" not in line


def test_a_resume_goes_on_with_the_epoch(clock: list[float]) -> None:
    sums: Sums = {}
    step(meter_of(sums), clock, 1.0)
    second = meter_of(json.loads(json.dumps(sums)))
    step(second, clock, 4.0)
    assert second.epoch_line()["loss"] == 2.5


def test_memory_of_a_process_is_in_megabytes() -> None:
    assert 50 < peak_memory_mb(torch.device("cpu")) < 100_000
