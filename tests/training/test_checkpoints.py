"""Checkpoints: whole at any moment, without pickle, and exact to go on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, Split
from detr_hf.training import checkpoints, loop
from detr_hf.training.checkpoints import find_checkpoint, save_model
from detr_hf.training.loop import Run, train
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import (
    ALL_LABELS,
    assembled,
    detection_recipe,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

ONE_STEP = ("optim.max_steps=1", "optim.schedule.warmup_steps=0")


class Killed(BaseException):
    """Ends a run as a kill would: nothing catches it."""


def killed_after_checkpoints(recipe: Recipe, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a recipe until it has written ``last/`` so many times."""
    real, written = loop.save_training, []

    def save_and_count(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == count:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_training", save_and_count)
        with pytest.raises(Killed):
            train(assembled(recipe))
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, starting weights and one finished step of stage 1, shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("home")
    write_coco_detection(folder / "boxes", count=8)
    write_coco_panoptic(folder / "masks", count=8)
    save_detector(folder / "start")
    save_detector(folder / "stage1", ALL_LABELS)
    save_segmenter(folder / "head")
    train(assembled(recipe_of("detection", folder, folder / "run", *ONE_STEP)))
    return folder


def recipe_of(stage: str, home: Path, output: Path, *overrides: str) -> Recipe:
    """Four steps in two epochs, with the dropout of a real DETR."""
    changes = ["optim.epochs=2", "optim.schedule.warmup_steps=2", "optim.schedule.drop_at=0.6", *overrides]
    if stage == "detection":
        boxes = home / "boxes"
        split = Split(annotations=str(boxes / "annotations.json"), images=str(boxes / "images"))
        return detection_recipe(output, split, home / "start", *changes)
    masks = home / "masks"
    files = {
        "annotations": masks / "annotations.json",
        "images": masks / "images",
        "panoptic": masks / "panoptic",
    }
    split = Split(**{name: str(path) for name, path in files.items()})
    return panoptic_recipe(output, split, home / "stage1", home / "head", *changes)


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_a_run_cut_off_ends_with_the_very_weights_of_one_that_was_not(
    stage: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = assembled(recipe_of(stage, home, tmp_path / "whole"))
    train(whole)
    recipe = recipe_of(stage, home, tmp_path / "cut")
    killed_after_checkpoints(recipe, 1, monkeypatch)
    resumed = assembled(recipe)
    assert resumed.progress.step == 2
    train(resumed)
    for name, value in whole.task.model.state_dict().items():
        assert torch.equal(value, resumed.task.model.state_dict()[name]), name
    timeless = [
        [
            {key: value for key, value in line.items() if key != "images_per_second"}
            for line in lines_of(folder)
        ]
        for folder in (whole.folder, resumed.folder)
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 4  # train and validation of two epochs


def test_what_is_written_holds_no_pickle(home: Path) -> None:
    names = {path.name for path in (home / "run" / "last").iterdir()}
    assert names == {
        "config.json",
        "label_map.json",
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
    with pytest.raises(OSError, match="disk full"):
        save_model(best, one_step.task, one_step.processor, {"epoch": 99})
    assert (best / "metrics.json").read_bytes() == before
    assert sorted(path.name for path in one_step.folder.glob("best*")) == ["best"]


def test_a_kill_between_the_two_renames_leaves_the_old_one_to_be_found(
    one_step: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = one_step.folder, Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "last.partial":
            raise Killed
        return real(path, target)

    parts = (one_step.accelerator, one_step.task, one_step.processor, one_step.optimiser)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            checkpoints.save_training(folder / "last", *parts, one_step.progress, one_step.identity)
    assert not (folder / "last").exists()
    found = find_checkpoint(folder, "auto")
    assert found == folder / "last.old"
    resumed = assembled(one_step.recipe)
    assert resumed.progress.step == 1
    assert (folder / "last.old").exists(), "still the only checkpoint"
    checkpoints.save_training(folder / "last", *parts, one_step.progress, one_step.identity)
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
        ("optim.batch_size=2", "batch_size is 4, this run's is 2"),
        ("data.overfit=5", "training_images is 8, this run's is 5"),
        ("model.freeze_backbone=none", "learning_tensors"),
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


def test_other_pretrained_weights_are_another_run(home: Path, one_step: Run) -> None:
    other = save_detector(one_step.folder.parent / "elsewhere")
    recipe = recipe_of("detection", home, one_step.folder, f"model.pretrained={other}")
    with pytest.raises(UserError, match="its starts_from is"):
        assembled(recipe)


@pytest.mark.parametrize("damage", ["missing tensors", "cut tensors", "no json", "empty json", "cut weights"])
def test_a_broken_checkpoint_is_told_plainly(one_step: Run, damage: str) -> None:
    last = one_step.folder / "last"
    if damage == "missing tensors":
        (last / "training_state.safetensors").unlink()
    elif damage == "cut tensors":
        file = last / "training_state.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "no json":
        (last / "training_state.json").write_text('{"progress": ')
    elif damage == "empty json":
        (last / "training_state.json").write_text("{}")
    else:
        file = last / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"resume: .*last cannot be read .*resume: never") as caught:
        assembled(one_step.recipe)
    assert "\n" not in str(caught.value).strip()


def test_never_starts_over_and_nothing_goes_on_from_the_older_run(home: Path, one_step: Run) -> None:
    fresh = assembled(recipe_of("detection", home, one_step.folder, *ONE_STEP, "resume=never"))
    assert fresh.progress.step == 0
    assert find_checkpoint(fresh.folder, "auto") is None
    assert (fresh.folder / "best").is_dir(), "kept until there is a better one"


def test_a_run_that_goes_on_in_another_folder_gets_a_best_there(home: Path, one_step: Run) -> None:
    changes = [*ONE_STEP, f"resume={one_step.folder / 'last'}"]
    moved = assembled(recipe_of("detection", home, one_step.folder.parent / "moved", *changes))
    assert moved.progress.step == 1 and moved.progress.best is None
    train(moved)
    assert json.loads((moved.folder / "best" / "metrics.json").read_text())["step"] == 1
    assert (one_step.folder / "last").is_dir()


def test_changed_rates_count_from_the_resume_on(home: Path, one_step: Run) -> None:
    """Guards: an optimiser's saved state brings its old learning rate and decay back with it."""
    changes = ["optim.lr=5e-4", "optim.weight_decay=0.5", "optim.schedule.name=constant", "optim.max_steps=2"]
    changes += ["optim.schedule.warmup_steps=0", "optim.schedule.drop_at=null"]
    run = assembled(recipe_of("detection", home, one_step.folder, *changes))
    assert run.progress.step == 1
    group = next(group for group in run.optimiser.param_groups if group["name"] == "other")
    assert (group["lr"], group["weight_decay"]) == (5e-4, 0.5)
    assert all(run.optimiser.state[p]["step"] == 1 for p in group["params"])
