"""What `detr-hf evaluate` scores; that it does is tested in test_cli.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.recipe import recipe_to_yaml
from detr_hf.scoring import score, scoring_of
from tests.factories import write_coco_detection
from tests.tiny_runs import THING_LABELS, detection_recipe, save_detector


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of stage 1 in tiles, on data whose splits are named by files."""
    split = write_coco_detection(tmp_path / "named")
    recipe = detection_recipe(tmp_path / "run", split, Path("nowhere"), "data.tiles={size: 64}")
    save_detector(tmp_path / "run" / "best")
    (tmp_path / "run" / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Data with a training and a test split."""
    for name, seed in (("train", 1), ("test", 2)):
        write_coco_detection(tmp_path / "photos" / name, count=4, seed=seed)
        (tmp_path / "photos" / name / "annotations.json").rename(
            tmp_path / "photos" / name / "_annotations.coco.json"
        )
    return tmp_path / "photos"


def test_other_data_are_scored_as_the_run_of_the_model_scores_its_own(run: Path, photos: Path) -> None:
    scoring = scoring_of(str(photos), model=str(run), split="test")
    assert scoring.model == str(run / "best") and scoring.out == Path("runs/evaluate-photos")
    data = scoring.recipe.data
    assert data.tiles is not None and data.labels == str(run / "best" / "label_map.json")
    bundle = build_bundle(data, run / "out")
    assert len(bundle.dataset["validation"]) == 4 and bundle.labels == THING_LABELS


def test_a_model_without_a_run_says_itself_how_images_come_to_it(photos: Path, tmp_path: Path) -> None:
    model = save_detector(tmp_path / "model")
    scoring = scoring_of(str(photos), model=str(model), out="out")
    assert scoring.recipe.task == "detection" and scoring.out == Path("out")
    resize = {"name": "ShortEdgeResize", "short_edges": [64], "max_long_edge": 128}
    assert scoring.recipe.transforms.validation == [resize]
    config = json.loads((model / "config.json").read_text()) | {"architectures": ["AnyForSegmentation"]}
    (model / "config.json").write_text(json.dumps(config))
    assert scoring_of(str(photos), model=str(model)).recipe.task == "panoptic"


def test_a_split_of_a_run_has_a_folder_of_its_own(run: Path, photos: Path) -> None:
    text = (run / "recipe.yaml").read_text()
    start, end = text.index("data:"), text.index("transforms:")
    (run / "recipe.yaml").write_text(f"{text[:start]}data: {{train: {photos}}}\n{text[end:]}")
    scoring = scoring_of(str(run), split="test")
    assert scoring.out == run / "evaluate-test" and scoring.recipe.data.validation_split == "test"
    assert scoring_of(str(run), split="validation").out == run
    with pytest.raises(UserError, match=r"no split 'dev'; it has train, test"):
        build_bundle(scoring_of(str(run), split="dev").recipe.data, run)


def test_images_that_were_learned_are_told(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a set whose only split is called `test`, a training learns that split."""
    shutil.rmtree(photos / "train")
    score(scoring_of(str(photos), model=str(run), split="test", out=str(tmp_path / "out")))
    assert "its score shows overfitting, not quality" in capsys.readouterr().out


def test_no_more_processes_load_images_than_there_are_cores(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: torch's warning, where the run was trained on a larger machine."""
    seen: list[int] = []
    monkeypatch.setattr("detr_hf.data.workers.cores", lambda: 3)
    monkeypatch.setattr(
        "detr_hf.training.finish.evaluate_model", lambda recipe, *_: seen.append(recipe.data.workers) or {}
    )
    for workers in (2, 8):
        score(scoring_of(str(photos), [f"data.workers={workers}"], model=str(run), out=str(run / "out")))
    assert seen == [2, 3]


def test_what_cannot_be_scored_is_said(run: Path, photos: Path) -> None:
    with pytest.raises(UserError, match="is a data set; name the model to score on it: --model"):
        scoring_of(str(photos))
    with pytest.raises(UserError, match=r"--split test: .*named by its files has no further splits"):
        scoring_of(str(run), split="test")
    with pytest.raises(UserError, match="absent: there is no such file or folder, seen from the current"):
        scoring_of("absent")
