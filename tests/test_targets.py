"""What a word of the command line means, and what is said where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.demo.resolve import model_path
from detr_hf.errors import UserError
from detr_hf.recipe.shipped import shipped_recipe
from detr_hf.run_folder import RunFolder
from detr_hf.targets import Target, target_of

RECIPE = "task: detection\noutput_dir: out\ndata: {train: photos}\noptim: {epochs: 1}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, a run with a model in it, data with a recipe beside, and YOLO's data.yaml."""
    monkeypatch.chdir(tmp_path)
    for folder in ("run/best", "run/data", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("my.yaml", "run/recipe.yaml", "photos/recipe.yaml"):
        (tmp_path / file).write_text(RECIPE)
    (tmp_path / "run" / "best" / "config.json").write_text('{"model_type": "detr"}')
    (tmp_path / "photos" / "data.yaml").write_text("names: [cat]\ntrain: images\n")
    (tmp_path / "set.json").write_text("{}")
    return tmp_path


def test_a_folder_of_several_runs_is_none(here: Path) -> None:
    """As `detr-hf train DATA` leaves one."""
    for stage in ("detection", "panoptic"):
        (here / "runs" / stage).mkdir(parents=True)
        (here / "runs" / stage / "recipe.yaml").write_text(RECIPE)
        (here / "runs" / stage / "metrics.jsonl").touch()
    said = "runs: holds 2 runs; give runs/detection or runs/panoptic."
    for action in (target_of, model_path, lambda word: RunFolder.open(Path(word))):
        with pytest.raises(UserError, match=said):
            action("runs")
    assert model_path("run") == "run/best"
    (here / "runs" / "panoptic" / "recipe.yaml").unlink()
    (here / "runs" / "detection" / "best").mkdir()
    assert model_path("runs") == "runs/detection/best", "the only one is meant"
    assert target_of("runs").path == RunFolder.open(Path("runs")).path == Path("runs/detection")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("my.yaml", Target("recipe", Path("my.yaml"))),
        ("run", Target("run", Path("run"), Path("run/best"))),
        ("run/best", Target("run", Path("run"), Path("run/best"))),
        ("run/data", Target("data", Path("run/data"))),
        ("photos", Target("data", Path("photos"))),
        ("photos/data.yaml", Target("data", Path("photos/data.yaml"))),
        ("set.json", Target("data", Path("set.json"))),
        ("detection", Target("recipe", shipped_recipe("detection"))),
    ],
)
def test_what_a_word_means(here: Path, word: str, meant: Target) -> None:
    assert target_of(word) == meant


def test_a_name_of_a_recipe_is_one_where_data_of_that_name_have_no_meaning(here: Path) -> None:
    (here / "detection").mkdir()
    assert target_of("detection").kind == "data"
    assert target_of("detection", ("recipe", "run")).path == shipped_recipe("detection")


@pytest.mark.parametrize(
    ("word", "kinds", "said"),
    [
        (
            "nothing",
            ("recipe", "data"),
            "no such file or folder, seen from the current folder /.* .`detr-hf recipes` lists those",
        ),
        ("photoz", ("data",), "did you mean 'photos'"),
        ("ny.yaml", ("recipe",), "did you mean 'my.yaml'"),
        ("panoptik.yaml", ("recipe",), "no such recipe file, .* did you mean 'panoptic'.*`detr-hf recipes`"),
        (
            "data=photos",
            ("recipe", "data"),
            "data=photos: is a setting; .* data set .*; did you mean 'photos'",
        ),
        ("data=photoz", ("recipe", "data"), r"data=photoz: is a setting; .* data set .*\.$"),
        ("photos", ("recipe", "run"), "photos: is a data set .*; give a recipe .* or the folder of a run"),
    ],
)
def test_what_is_said_of_a_word_without_a_meaning(here: Path, word: str, kinds: tuple, said: str) -> None:
    with pytest.raises(UserError, match=said):
        target_of(word, kinds)
