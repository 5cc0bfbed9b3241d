"""A whole run from its first line to its last picture, and the same numbers from `evaluate_model`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe import Recipe
from detr_hf.train import run as run_recipe
from detr_hf.training import finish, loop
from detr_hf.training.finish import evaluate_model
from detr_hf.training.state import Run
from tests.factories import write_coco_panoptic
from tests.tiny_runs import (
    ALL_LABELS,
    THING_LABELS,
    assembled,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    split = write_coco_panoptic(folder / "data", count=5)
    detector = save_detector(folder / "stage1", ALL_LABELS)
    quick = ["optim.epochs=1", "evaluation.pictures=2", "evaluation.score_threshold=0.3", *overrides]
    return panoptic_recipe(folder / "run", split, detector, save_segmenter(folder / "head"), *quick)


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(tmp_path)
    results = run_recipe(recipe)
    run, told = tmp_path / "run", capsys.readouterr().out
    assert "data: 5 training and 5 validation images; 5 classes (3 things, 2 stuff)" in told
    assert "starting from random: nothing" in told
    assert "steps: 1 of 4 images each (1 epoch); output: " in told
    for written in ("train_samples.jpg", "best", "report.html"):
        assert str(run / written) in told and (run / written).exists()
    for written in ("results.md (each class)", "metrics.jsonl (every epoch)", "pictures/ (2 images"):
        assert written in told and (run / written.split(" ")[0]).exists()
    assert re.search(
        r"^epoch 1/1: loss [\d.]+; PQ [\d.]+ \(box AP .*\), the best so far; \d+ s, 0 s left$", told, re.M
    )
    assert "\r" not in told and f"\n  detr-hf predict {run / 'best'} photos/ --out runs/found" in told
    assert "stage 2: masks" not in told, "it was stage 2"
    pictures = sorted((run / "pictures").iterdir())
    assert [path.name for path in pictures] == ["000_000.jpg", "001_001.jpg"]
    sheet = Image.open(pictures[0])
    assert sheet.width > sheet.height, "truth and prediction side by side"
    best = json.loads((run / "best" / "metrics.json").read_text())
    assert results == best and (best["epoch"], best["step"]) == (1, 1)
    tables = (run / "results.md").read_text()
    assert "AP50" in tables and "PQ" in tables and "brick" in tables and "sky" in tables
    validation = [line for line in lines_of(run) if line["kind"] == "validation"]
    assert validation[0]["panoptic"] == results["panoptic"]
    again = evaluate_model(recipe, build_bundle(recipe.data, run), str(run / "best"), tmp_path / "again")
    assert again["panoptic"] == results["panoptic"] and again["detection"] == results["detection"]
    assert json.loads((tmp_path / "again" / "evaluation.json").read_text())["model"] == str(run / "best")


def test_a_finished_run_started_again_shows_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with another rate: what is finished stays as it was trained."""
    first = run_recipe(recipe_of(tmp_path))
    record = (tmp_path / "run" / "recipe.yaml").read_text()
    written = (tmp_path / "run" / "last" / "training_state.json").stat().st_mtime_ns
    capsys.readouterr()
    assert run_recipe(recipe_of(tmp_path, "optim.lr=0.0321")) == first
    told = capsys.readouterr().out
    assert "resuming from" in told and "Best on the validation split, epoch 1" in told
    assert (tmp_path / "run" / "last" / "training_state.json").stat().st_mtime_ns == written
    assert (tmp_path / "run" / "recipe.yaml").read_text() == record, "how the model was trained"


def test_pictures_have_names_that_fit_and_none_of_an_earlier_run_is_left(tmp_path: Path) -> None:
    """Guards: a file's name of 255 bytes, legal in a data set, ended a finished training in a traceback."""
    long = "n" * 251 + ".jpg"

    def renamed(content: dict[str, Any]) -> None:
        first = content["images"][0]
        (tmp_path / "data" / "images" / first["file_name"]).rename(tmp_path / "data" / "images" / long)
        first["file_name"] = long

    split = write_coco_panoptic(tmp_path / "data", count=5, mend=renamed)
    detector = save_detector(tmp_path / "stage1", ALL_LABELS)
    head = save_segmenter(tmp_path / "head")
    run = assembled(panoptic_recipe(tmp_path / "run", split, detector, head, "evaluation.pictures=2"))
    run.task.eval()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("001_of_another_data_set.jpg", "notes.txt"):
        (folder / name).write_text("")
    drawn = finish.save_images(run, folder)
    assert len(drawn) == 2 and drawn[0].name.startswith("000_nnn")
    assert sorted(folder.iterdir()) == sorted([*drawn, folder / "notes.txt"])
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken could not be written"):
        finish.save_images(run, tmp_path / "taken")


def test_pictures_and_tables_are_of_the_best_weights_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assembled(recipe_of(tmp_path))
    loop.train(run)
    with torch.no_grad():
        next(run.task.model.mask_head.parameters()).zero_()
    drawn_with: dict[str, torch.Tensor] = {}

    def keep(run: Run, *_: object) -> list[Path]:
        drawn_with.update(run.task.model.state_dict())
        return []

    monkeypatch.setattr(finish, "save_images", keep)
    finish.finish(run)
    best = load_finished(str(tmp_path / "run" / "best")).state_dict()
    assert drawn_with and all(torch.equal(value, best[name]) for name, value in drawn_with.items())


def test_evaluation_refuses_a_detector_for_a_panoptic_recipe_and_other_classes(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    detector = save_detector(tmp_path / "stage1", ALL_LABELS)
    recipe = panoptic_recipe(tmp_path / "run", split, detector, save_segmenter(tmp_path / "head"))
    data = build_bundle(recipe.data, tmp_path)
    with pytest.raises(UserError, match=r"stage1 holds a detector \(stage 1\), but the recipe is of stage 2"):
        evaluate_model(recipe, data, str(tmp_path / "stage1"), tmp_path)
    stranger = save_segmenter(tmp_path / "stranger", THING_LABELS)
    with pytest.raises(UserError, match=r"^\S*stranger was trained for other classes"):
        evaluate_model(recipe, data, str(stranger), tmp_path)
    shutil.rmtree(tmp_path / "head")
    with pytest.raises(UserError, match="there is no such folder"):
        evaluate_model(recipe, data, str(tmp_path / "head"), tmp_path)
