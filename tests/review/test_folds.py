"""The runs that `--folds` plans: recipes that differ by what they leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe.data import Fold
from detr_hf.review.folds import finished_folders, plan_folds, train_folds
from tests.ablation.fake_runs import start

DETECTION = (
    "task: detection\noutput_dir: runs/x\ndata: {train: data, validation: other}\noptim: {epochs: 3}\n"
)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_every_part_is_left_out_once(tmp_path: Path) -> None:
    runs = plan_folds(write(tmp_path / "r.yaml", DETECTION), tmp_path / "out", 3)
    assert [run.recipe.data.fold for run in runs] == [Fold(held_out=at, of=3) for at in range(3)]
    assert [run.folder for run in runs] == [tmp_path / f"out/fold-{at}/detection" for at in range(3)]
    assert {run.recipe.data.validation for run in runs} == {None}
    assert finished_folders(runs) == [run.folder for run in runs]


def test_the_detector_of_a_segmenter_is_trained_again(tmp_path: Path) -> None:
    """It has learned from the images that its segmenter is to judge."""
    write(tmp_path / "boxes" / "recipe.yaml", DETECTION)
    model = f"model: {{detector: {tmp_path}/boxes/best}}"
    text = f"task: panoptic\noutput_dir: y\ndata: {{train: data}}\noptim: {{epochs: 2}}\n{model}\n"
    runs = plan_folds(write(tmp_path / "r.yaml", text), tmp_path / "out", 2)
    assert [run.folder.name for run in runs] == ["detection", "panoptic"] * 2
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        assert second.after is first and second.recipe.model.detector == str(first.folder / "best")  # type: ignore[union-attr]
        assert first.recipe.data.fold == second.recipe.data.fold
    assert finished_folders(runs) == [run.folder for run in runs[1::2]]


def test_a_stream_cannot_be_divided(tmp_path: Path) -> None:
    text = DETECTION.replace("{train: data, validation: other}", "{dataset: a/b, streaming: true}")
    with pytest.raises(UserError, match=r"data\.fold: divides all images"):
        plan_folds(write(tmp_path / "r.yaml", text), tmp_path / "out", 2)


def test_folders_of_another_recipe_are_refused(tmp_path: Path) -> None:
    (first, *_) = plan_folds(write(tmp_path / "r.yaml", DETECTION), tmp_path / "out", 2)
    start(first)
    others = plan_folds(write(tmp_path / "r.yaml", DETECTION.replace("3", "4")), tmp_path / "out", 2)
    with pytest.raises(
        UserError, match=r"(?s)than that of this review.*optim\.epochs: 3 -> 4.*another --out"
    ):
        train_folds(others)
