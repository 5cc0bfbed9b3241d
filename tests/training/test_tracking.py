"""metrics.jsonl and trackers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training import tracking
from detr_hf.training.setup import start
from detr_hf.training.tracking import RunLog, tracker_names


def recipe(folder: Path, *overrides: str) -> Recipe:
    values = {"task": "detection", "output_dir": str(folder), "data": {"demo": {}}, "optim": {"epochs": 1}}
    return recipe_from_text(json.dumps(values), overrides)


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_one_json_object_a_line(tmp_path: Path) -> None:
    log = RunLog(Accelerator(), recipe(tmp_path))
    log.write(3, "train", {"epoch": 1, "loss": 0.5, "lr": {"backbone": 1e-5}})
    log.write(3, "validation", {"detection": {"AP": None}})
    assert read(tmp_path) == [
        {"step": 3, "kind": "train", "epoch": 1, "loss": 0.5, "lr": {"backbone": 1e-5}},
        {"step": 3, "kind": "validation", "detection": {"AP": None}},
    ]


def test_a_run_that_goes_on_drops_the_lines_after_its_step(tmp_path: Path) -> None:
    log = RunLog(Accelerator(), recipe(tmp_path))
    for step in (2, 4, 6):
        log.write(step, "train", {"loss": step / 10})
    with log.path.open("a") as file:
        file.write('{"step": 8, "ki')  # cut off by a kill
    RunLog(Accelerator(), recipe(tmp_path), step=4).write(6, "train", {"loss": 9.0})
    assert [(line["step"], line["loss"]) for line in read(tmp_path)] == [(2, 0.2), (4, 0.4), (6, 9.0)]


def test_a_run_from_the_start_begins_its_log_anew(tmp_path: Path) -> None:
    RunLog(Accelerator(), recipe(tmp_path)).write(2, "train", {"loss": 1.0})
    RunLog(Accelerator(), recipe(tmp_path))
    assert read(tmp_path) == []


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda self: False))
    RunLog(Accelerator(), recipe(tmp_path)).write(2, "train", {"loss": 1.0})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_tracker_that_is_not_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: Accelerate leaves such a tracker out with a debug line."""
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(UserError, match=r"trackers: wandb is not installed \(pip install wandb\)"):
        start(recipe(tmp_path, "trackers=[tensorboard, wandb]"))
    assert tracker_names(["tensorboard"]) == ["tensorboard"]


def test_tensorboard_gets_settings_and_nested_numbers_flat(tmp_path: Path) -> None:
    """Guards: TensorBoard refuses nested settings and lists, and leaves out nested numbers."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = recipe(tmp_path, "trackers=[tensorboard]")
    log = RunLog(start(chosen), chosen)
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
    log = RunLog(Accelerator(), recipe(tmp_path))
    for kind in ("train", "step", "validation"):
        log.write(4, kind, {})
    RunLog(Accelerator(), recipe(tmp_path), step=4, evaluated=False)
    assert [line["kind"] for line in read(tmp_path)] == ["train", "step"]


def test_a_resumed_run_is_one_run_to_its_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(Accelerator, "init_trackers", lambda *_, init_kwargs, **__: told.append(init_kwargs))
    chosen = recipe(tmp_path, "trackers=[tensorboard, wandb, trackio]")
    first = RunLog(Accelerator(), chosen)
    RunLog(Accelerator(), chosen, step=7, run_id=first.run_id)
    same = {"wandb": {"id": first.run_id, "resume": "allow"}}
    same["trackio"] = {"name": first.run_id, "resume": "allow"}
    assert told == [{**same, "tensorboard": {}}, {**same, "tensorboard": {"purge_step": 8}}]
    assert RunLog(Accelerator(), chosen).run_id != first.run_id
