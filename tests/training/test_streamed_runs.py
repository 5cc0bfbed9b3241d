"""Whole runs on a stream: as long as on a table, and cut anywhere, the same in the end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.recipe import Data, Recipe, Split
from detr_hf.training.find_batch_size import worst_case
from detr_hf.training.loop import train
from detr_hf.training.start_report import report_start
from tests.stream_factories import write_parquet
from tests.tiny_runs import (
    ALL_LABELS,
    assembled,
    detection_recipe,
    killed_after_checkpoints,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
    weights,
)
from tests.training.test_two_processes import NO_DROPOUT, run_on

FILES = Split(annotations="none", images="none", panoptic="none")
NO_WARM_UP = "optim.schedule.warmup_steps=0"


def streamed_recipe(stage: str, home: Path, output: Path, *overrides: str, **data: Any) -> Recipe:
    """Two epochs of two steps of 4 on the set of 11 images in 4 uneven files."""
    if stage == "detection":
        recipe = detection_recipe(output, FILES, home / "start", NO_WARM_UP, *overrides)
    else:
        recipe = panoptic_recipe(output, FILES, home / "stage1", home / "head", NO_WARM_UP, *overrides)
    stream = Data(dataset=str(home / stage), streaming=True, shuffle_buffer=8, workers=0, **data)
    return replace(recipe, data=stream)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streamed") / "home"
    write_parquet(folder / "detection")
    write_parquet(folder / "panoptic", stuff=True)
    save_detector(folder / "start")
    save_detector(folder / "stage1", ALL_LABELS)
    save_segmenter(folder / "head")
    return folder


@pytest.mark.parametrize("stage", ["detection", pytest.param("panoptic", marks=pytest.mark.slow)])
def test_a_run_cut_inside_an_epoch_ends_with_the_same_weights(
    stage: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = assembled(streamed_recipe(stage, home, tmp_path / "whole"))
    train(whole)
    assert whole.total_steps == 4 and whole.state.step == 4
    losses = [line["loss"] for line in lines_of(whole.folder) if line["kind"] == "train"]
    assert len(losses) == 2 and all(0 < loss < 100 for loss in losses)
    recipe = streamed_recipe(stage, home, tmp_path / "cut", "checkpoint.every_steps=1")
    killed_after_checkpoints(recipe, 3, monkeypatch)
    state = json.loads((tmp_path / "cut" / "last" / "training_state.json").read_text())
    assert state["state"]["step"] == 3 and list(state["stream"]) == ["0"]
    resumed = assembled(recipe)
    assert resumed.state.step == 3
    train(resumed)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.task.model.state_dict()[name]), name
    logged = [
        [line["loss"] for line in lines_of(tmp_path / run) if line["kind"] == "train"]
        for run in ("whole", "cut")
    ]
    assert logged[0] == logged[1]


def test_a_run_is_as_long_as_on_the_same_images_in_a_table(home: Path, tmp_path: Path) -> None:
    stream = assembled(streamed_recipe("detection", home, tmp_path / "stream"))
    bundle = build_bundle(stream.recipe.data, tmp_path / "x")
    assert stream.steps_per_epoch == bundle.stream.images // 4 and stream.total_steps == 4  # type: ignore[union-attr]
    declared = assembled(streamed_recipe("detection", home, tmp_path / "declared", epoch_images=5))
    assert (declared.steps_per_epoch, declared.total_steps) == (1, 2)


def test_the_start_is_told_and_drawn(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = streamed_recipe("detection", home, tmp_path / "run")
    run = assembled(recipe)
    data = build_bundle(recipe.data, recipe.output_dir)
    capsys.readouterr()
    report_start(run, data, "nothing new")
    assert "data: 11 streamed training and 4 validation images; 3 classes" in capsys.readouterr().out
    assert (run.folder / "train_samples.jpg").is_file()
    size_hw, most_objects = worst_case(run.train_loader.dataset)
    assert size_hw == (64, 85) and len(most_objects["class_labels"]) >= 3


def test_another_order_is_another_run(home: Path, tmp_path: Path) -> None:
    recipe = streamed_recipe("detection", home, tmp_path / "run", "optim.max_steps=1")
    train(assembled(recipe))
    with pytest.raises(UserError, match=r"its data\.shuffle_buffer is 8, this run's is 9"):
        assembled(replace(recipe, data=replace(recipe.data, shuffle_buffer=9)))
    with pytest.raises(UserError, match="its training_images is 11, this run's is 9"):
        assembled(replace(recipe, data=replace(recipe.data, epoch_images=9)))
    other = write_parquet(tmp_path / "other", changes={105: {"file_name": "another.jpg"}})
    with pytest.raises(UserError, match=r"it was trained on .*detection .*this run's data is .*other "):
        assembled(replace(recipe, data=replace(recipe.data, dataset=str(other))))


def test_bad_images_are_skipped_and_listed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "detection", broken=[100, 105])
    save_detector(tmp_path / "start")
    run = assembled(streamed_recipe("detection", tmp_path, tmp_path / "run", on_bad_sample="skip"))
    train(run)
    listed = [json.loads(line) for line in (run.folder / "bad_samples.jsonl").read_text().splitlines()]
    assert listed and all(
        "image 10" in line["fault"] and line["replaced_by"] > line["row"] for line in listed
    )


@pytest.mark.slow
def test_two_processes_go_on_exactly_and_one_says_that_it_cannot(tmp_path: Path) -> None:
    """Uneven files, loading processes and skipped images: every process has as many batches."""
    write_parquet(tmp_path / "detection", broken=[104])
    save_detector(tmp_path / "start", **NO_DROPOUT)

    def recipe_of(name: str) -> Recipe:
        small = ("optim.lr=1e-5", "optim.micro_batch_size=1", "optim.epochs=3")
        recipe = streamed_recipe("detection", tmp_path, tmp_path / name, *small, on_bad_sample="skip")
        return replace(recipe, data=replace(recipe.data, workers=1))

    whole = run_on(2, recipe_of("whole"), tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "Exception ignored" not in whole.stderr
    cut = recipe_of("cut")
    assert run_on(2, replace(cut, time_limit="1s"), tmp_path).returncode != 0
    step = json.loads((tmp_path / "cut" / "last" / "training_state.json").read_text())["state"]["step"]
    assert 0 < step < 6
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    assert run_on(2, cut, tmp_path).returncode == 0
    known, again = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, again[name]) for name, value in known.items())
    alone = run_on(1, recipe_of("alone"), tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.count("written on 2 processes and resumed on 1: the rest of epoch") == 1
