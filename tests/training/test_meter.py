"""What is measured in training: sums over processes, means over steps, and the clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.optim import SGD

from detr_hf.training import meter as module
from detr_hf.training.meter import Meter, peak_memory_mb


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def meter_of() -> Meter:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5, "name": "other"}]
    return Meter(Accelerator(cpu=True), SGD(groups), batch_size=8)


def step(meter: Meter, clock: list[float], loss: float, waited: float = 0.5, worked: float = 1.5) -> None:
    with meter.loading():
        clock[0] += waited
    meter.add("loss", loss)
    meter.add("gradient_norm", 10 * loss)
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


def test_terms_add_up_over_processes_and_a_step_left_out_by_one_does_not_hang_the_rest(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
        other = {"gradient_norm": [80.0, 1], "data_seconds": [9.0, 1], "bad_samples": [3.0, 1]}
        return [*states, {**other, "loss": [5.0, 2]}]

    monkeypatch.setattr(module, "gather_object", with_another)
    meter = meter_of()
    step(meter, clock, 1.0)
    meter.add("giou", 0.25)
    meter.add("bad_samples", 1)
    line = meter.epoch_line()
    assert (line["loss"], line["giou"], line["bad_samples"]) == (1.0 + 2.5, 0.25, 4)
    assert (line["gradient_norm"], line["data_seconds"]) == (10.0, 0.5), "those of the main process"


def test_a_resume_goes_on_with_the_epoch(clock: list[float]) -> None:
    first, second = meter_of(), meter_of()
    step(first, clock, 1.0)
    second.restore([first.state()], rank=0, world_size=1)
    second.start_clock()
    step(second, clock, 4.0)
    assert second.epoch_line()["loss"] == 2.5


def test_memory_of_a_process_is_in_megabytes() -> None:
    assert 50 < peak_memory_mb(torch.device("cpu")) < 100_000
