"""Checkpoints: whole at any moment, without pickle, and exact to resume from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_hf.errors import UserError
from detr_hf.files import replacing
from detr_hf.training.checkpoint import find_checkpoint, load_training, save_model, save_training
from detr_hf.training.loop import train
from detr_hf.training.state import Run
from tests.factories import write_coco_detection
from tests.tiny_runs import (
    Killed,
    assembled,
    save_detector,
)
from tests.training.checkpoint_runs import ONE_STEP, flip_a_byte, recipe_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, starting weights and one finished step of stage 1, shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("home")
    write_coco_detection(folder / "boxes", count=8)
    save_detector(folder / "start")
    train(assembled(recipe_of("detection", folder, folder / "run", *ONE_STEP)))
    return folder


def test_what_is_written_holds_no_pickle(home: Path) -> None:
    names = {path.name for path in (home / "run" / "last").iterdir()}
    assert names == {
        "config.json",
        "label_map.json",
        "manifest.json",
        "model.safetensors",
        "preprocessor_config.json",
        "training_state.json",
        "training_state.safetensors",
    }
    for path in (home / "run").rglob("*"):
        assert path.suffix not in {".bin", ".pt", ".pth", ".pkl", ".pickle"}
        assert not path.is_file() or not path.read_bytes().startswith((b"\x80\x02", b"\x80\x04", b"PK"))


@pytest.fixture
def one_step(home: Path, tmp_path: Path) -> Run:
    """A copy of the finished step, as a run that has nothing left to do."""
    shutil.copytree(home / "run", tmp_path / "run")
    return assembled(recipe_of("detection", home, tmp_path / "run", *ONE_STEP))


def test_a_failure_while_writing_leaves_the_old_one(one_step: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    best = one_step.folder / "best"
    before = (best / "metrics.json").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(one_step.processor), "save_pretrained", fail)
    with pytest.raises(UserError, match=r"best could not be written: disk full\. What it held before is"):
        save_model(best, one_step.task, one_step.processor, {"epoch": 99})
    assert (best / "metrics.json").read_bytes() == before
    assert [path.name for path in one_step.folder.glob("best*") if path.is_dir()] == ["best"]


def test_a_kill_between_the_two_renames_leaves_the_old_one_to_be_found(
    one_step: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = one_step.folder, Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "last.partial":
            raise Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            save_training(one_step)
    assert not (folder / "last").exists()
    found = find_checkpoint(folder, "auto")
    assert found == folder / "last.old"
    resumed = assembled(one_step.recipe)
    assert resumed.state.step == 1
    assert (folder / "last.old").exists(), "still the only checkpoint"
    save_training(one_step)
    assert find_checkpoint(folder, "auto") == folder / "last"
    assert not (folder / "last.old").exists()


def test_where_there_is_no_checkpoint_a_run_starts_at_the_beginning(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, "auto") is None
    (tmp_path / "last.partial").mkdir()
    assert find_checkpoint(tmp_path, "auto") is None
    with pytest.raises(UserError, match=r"resume: .*nowhere is not a training checkpoint"):
        find_checkpoint(tmp_path, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optim.batch_size=2", "its optim.batch_size is 4, this run's is 2. "),
        ("data.overfit=5", "training_images is 8, this run's is 5"),
        ("model.freeze_backbone=none", "its number of trained tensors (model.freeze_backbone; "),
        ("loss.query_groups=2", "its loss.query_groups is None, this run's is 2. "),
        ("data.repeat_threshold=0.9", "its data.repeat_threshold is None, this run's is 0.9. "),
    ],
)
def test_another_run_is_refused_and_its_record_left_alone(
    home: Path, one_step: Run, override: str, named: str
) -> None:
    folder = one_step.folder
    before = {path: path.read_bytes() for path in folder.glob("*/*.json")} | {
        path: path.read_bytes() for path in folder.glob("metrics.jsonl")
    }
    changes = [*ONE_STEP, override]
    if override.startswith("data.overfit"):
        changes.append("data.validation=null")
    with pytest.raises(UserError, match="is of another run") as caught:
        assembled(recipe_of("detection", home, folder, *changes))
    assert named in str(caught.value) and "resume: never" in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_setting_that_is_left_out_is_another_run_too(home: Path, one_step: Run) -> None:
    one_step.state.identity["repeat_threshold"] = 0.9
    save_training(one_step)
    with pytest.raises(UserError, match=r"its data\.repeat_threshold is 0\.9, this run's is None"):
        assembled(one_step.recipe)


def change_a_box(boxes: Path) -> None:
    file = boxes / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][-1]["bbox"][2] -= 1
    file.write_text(json.dumps(content))


def test_other_data_of_the_same_size_is_another_run(home: Path, one_step: Run, tmp_path: Path) -> None:
    other = tmp_path / "other" / home.name
    shutil.copytree(home / "boxes", other / "boxes", copy_function=shutil.copyfile)  # new times
    (other / "start").symlink_to(home / "start")
    recipe = recipe_of("detection", other, one_step.folder, *ONE_STEP)
    assert assembled(recipe).state.step == 1, "the same data at another place"
    change_a_box(other / "boxes")
    with pytest.raises(UserError, match="is of another run: it was trained on ") as caught:
        assembled(recipe)
    assert str(other / "boxes") in str(caught.value) and str(home / "boxes") in str(caught.value)
    assert "another output_dir" in str(caught.value) and "resume: never" in str(caught.value)
    assert assembled(replace(recipe, resume="never")).state.step == 0


def test_a_checkpoint_that_does_not_say_its_data_is_resumed_with_a_warning(
    home: Path, one_step: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assembled(one_step.recipe)
    assert "warning" not in capsys.readouterr().out
    del one_step.state.identity["training_data"]
    save_training(one_step)
    resumed = assembled(one_step.recipe)
    assert resumed.state.step == 1 and "training_data" in resumed.state.identity
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and str(home / "boxes") in warnings[0]


def test_other_pretrained_weights_are_another_run(home: Path, one_step: Run) -> None:
    other = save_detector(one_step.folder.parent / "elsewhere")
    recipe = recipe_of("detection", home, one_step.folder, f"model.pretrained={other}")
    with pytest.raises(UserError, match=r"its start \(model\.pretrained; .* is "):
        assembled(recipe)


DAMAGES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("training_state.safetensors", Path.unlink, "training_state.safetensors is missing"),
    ("training_state.safetensors", lambda file: file.write_bytes(b"x" * 1000), "has 1000 bytes instead of"),
    ("training_state.json", lambda file: file.write_text("{}"), "training_state.json has 2 bytes"),
    ("model.safetensors", flip_a_byte, "model.safetensors was altered: its sha256 is another"),
    ("manifest.json", Path.unlink, "manifest.json is missing"),
    ("manifest.json", lambda file: file.write_text("[1"), "manifest.json cannot be read"),
    ("label_map.json", Path.unlink, "label_map.json is missing"),
]


@pytest.mark.parametrize(("name", "damage", "named"), DAMAGES)
def test_a_damaged_checkpoint_is_told_plainly(
    home: Path, tmp_path: Path, name: str, damage: Callable[[Path], Any], named: str
) -> None:
    shutil.copytree(home / "run" / "last", tmp_path / "last")
    damage(tmp_path / "last" / name)
    with pytest.raises(UserError, match=r"resume: .*last is damaged \(.*resume: never") as caught:
        find_checkpoint(tmp_path, "auto")
    assert named in str(caught.value) and "\n" not in str(caught.value).strip()


def test_never_starts_over_and_nothing_goes_on_from_the_older_run(home: Path, one_step: Run) -> None:
    fresh = assembled(recipe_of("detection", home, one_step.folder, *ONE_STEP, "resume=never"))
    assert fresh.state.step == 0
    assert find_checkpoint(fresh.folder, "auto") is None
    assert (fresh.folder / "best").is_dir(), "kept until there is a better one"


def test_a_run_that_goes_on_in_another_folder_gets_a_best_there(home: Path, one_step: Run) -> None:
    changes = [*ONE_STEP, f"resume={one_step.folder / 'last'}"]
    moved = assembled(recipe_of("detection", home, one_step.folder.parent / "moved", *changes))
    assert moved.state.step == 1 and moved.state.best is None
    train(moved)
    assert json.loads((moved.folder / "best" / "metrics.json").read_text())["step"] == 1
    assert (one_step.folder / "last").is_dir()


def test_changed_rates_count_from_the_resume_on(home: Path, one_step: Run) -> None:
    """Guards: an optimizer's saved state brings its old learning rate and decay back with it."""
    changes = ["optim.lr=5e-4", "optim.weight_decay=0.5", "optim.schedule.name=constant", "optim.max_steps=2"]
    changes += ["optim.schedule.warmup_steps=0", "optim.schedule.drop_at=null"]
    run = assembled(recipe_of("detection", home, one_step.folder, *changes))
    assert run.state.step == 1
    group = next(group for group in run.optimizer.param_groups if group["name"] == "other")
    assert (group["lr"], group["weight_decay"]) == (5e-4, 0.5)
    assert all(run.optimizer.state[p]["step"] == 1 for p in group["params"])


def test_all_of_the_state_travels_with_a_checkpoint(home: Path, one_step: Run) -> None:
    state = one_step.state
    state.best, state.skipped, state.stopping_best, state.stopping_waited = 0.25, 2, 0.5, 3
    state.epoch_sums, state.tracker_id = {"loss": [3.0, 2]}, "abc"
    state.tensors = {"a": torch.arange(3.0), "b.c": torch.tensor(2)}
    save_training(one_step)
    where = one_step.folder / "last"
    parts = (one_step.accelerator, one_step.task, one_step.optimizer)
    found, stream = load_training(where, *parts, state.identity)
    assert found.plain() == state.plain() and stream == {}
    assert found.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in state.tensors.items())
    resumed = assembled(one_step.recipe)
    assert resumed.state.tracker_id == "abc"
    assert resumed.state.tensors == {}, "without averaging nothing is left to go stale"
    moved = recipe_of("detection", home, one_step.folder.parent / "moved", *ONE_STEP, f"resume={where}")
    assert assembled(moved).state.tracker_id != "abc", "another folder is another run"


def test_every_generator_goes_on_where_it_was(one_step: Run) -> None:
    import random

    import numpy as np

    def draw() -> list[float]:
        return [float(torch.rand(())), float(np.random.rand()), random.random(), random.gauss(0, 1)]

    parts = (one_step.accelerator, one_step.task, one_step.optimizer)
    random.gauss(0, 1)  # leaves the second of a pair waiting
    save_training(one_step)
    first = draw()
    draw()
    load_training(one_step.folder / "last", *parts, one_step.state.identity)
    assert draw() == first


def test_what_is_replaced_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: after a power cut, a renamed folder whose files were never flushed holds empty files."""
    done: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real_sync(handle)

    def rename(path: Path, target: Path) -> Path:
        done.append(f"{path.name} -> {target.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    (tmp_path / "last").mkdir()
    with replacing(tmp_path / "last", manifest=True) as partial:
        (partial / "a").write_text("1")
    assert sorted(done[:2]) == ["a", "manifest.json"]
    assert done[2:] == ["last.partial", "last -> last.old", "last.partial -> last", tmp_path.name]
