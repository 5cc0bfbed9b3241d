"""`detr-hf pick` from the images to the list, the sheet and the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from detr_hf import cli
from detr_hf.inference import Predictor
from detr_hf.pick import score
from detr_hf.pick.choose import Pick
from detr_hf.pick.doubt import Unsure
from detr_hf.pick.images import find_pool
from detr_hf.pick.reasons import reasons
from detr_hf.recipe import recipe_to_yaml
from tests.factories import draw_scene, write_coco_detection
from tests.family_models import save_family
from tests.tiny_runs import THING_LABELS, Killed, detection_recipe, save_detector, save_segmenter


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("model"))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Six images in two folders with equal names, the last one the first again."""
    for at in range(5):
        image = draw_scene(np.random.default_rng(at), (48, 64), objects=3).image
        path = tmp_path / "pool" / "ab"[at % 2] / f"{at // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    shutil.copy(tmp_path / "pool" / "a" / "0.png", tmp_path / "pool" / "b" / "again.png")
    return tmp_path / "pool"


def picked(*words: Any, out: str = "out") -> dict[str, Any]:
    cli.main(["pick", *map(str, words), "--out", out])
    return json.loads(Path(out, "picked.json").read_text())


def names(content: dict[str, Any], pool: Path) -> list[str]:
    return [Path(entry["file"]).relative_to(pool).as_posix() for entry in content["picked"]]


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.98, "less sure than of 98% of the images"), (0.0, "not less sure than of the others")],
)
def test_the_surest_image_is_told_as_such(share: float, said: str) -> None:
    pick, choice = Pick(0, 0.0, share, 0.0, None, None, []), cast(Any, None)
    doubt: Any = SimpleNamespace(unsure=Unsure("brick", 0.5, None, 0.4))
    assert reasons(pick, doubt, choice, None) == [f"{said}: brick (0.50) or nothing (0.40)"]


def test_a_list_with_reasons_a_sheet_and_the_files(
    model: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = picked(model, pool, "--count", 3, "--copy-to", "chosen")
    found = names(content, pool)
    assert len(set(found)) == 3 and {"a/0.png", "b/again.png"} - set(found), "one of the two that are equal"
    assert [entry["rank"] for entry in content["picked"]] == [1, 2, 3]
    assert all(entry["reasons"] and "less sure than of" in entry["reasons"][0] for entry in content["picked"])
    assert "1 near-duplicate left out" in content["notes"][1] and "not known" in content["notes"][0]
    copied = {path.relative_to("chosen").as_posix() for path in Path("chosen").rglob("*.png")}
    assert copied == set(found), "under the names of their subfolders"
    text = Path("out/picked.md").read_text()
    assert text.startswith("# 3 images to annotate next") and all(name in text for name in found)
    assert Image.open("out/picked.jpg").width > 3 * 200
    assert "3 of 6 images picked" in capsys.readouterr().out


def test_another_count_needs_no_model(model: Path, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = picked(model, pool, "--count", 2)
    score._loaded.cache_clear()
    monkeypatch.setattr(Predictor, "from_pretrained", None)
    second = picked(model, pool, "--count", 4, "--by", "flips")
    assert len(second["picked"]) == 4 and first["images"] == second["images"] == 6


def test_what_was_killed_goes_on_where_it_was(
    model: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = picked(model, pool, "--count", 5, out="whole")
    looks: list[str] = []
    real = score.look_at_image

    def look(source: Any, name: str) -> Any:
        if len(looks) == 4:
            raise Killed
        looks.append(name)
        return real(source, name)

    monkeypatch.setattr(score, "look_at_image", look)
    with pytest.raises(Killed):
        picked(model, pool, "--count", 5)
    seen = looks[:]
    looks.clear()
    assert picked(model, pool, "--count", 5) == whole
    assert 0 < len(looks) < 6 and len(seen) == 4 and set(seen[:2]).isdisjoint(looks)


def test_broken_images_are_told_and_too_few_are_said(
    model: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pool / "words.jpg").write_text("no image")
    content = picked(model, pool, "--count", 9, "--labeled", "none")
    assert len(content["picked"]) == 5
    assert [entry["file"] for entry in content["skipped"]] == [str(pool / "words.jpg")]
    assert "this is not an image" in content["skipped"][0]["why"]
    said = capsys.readouterr().out
    assert "skipped: " in said and "words.jpg: this is not an image" in said
    assert "only 5 of 9 could be picked: there are no more in 7 images" in said
    assert "not an image" in Path("out/picked.md").read_text()


def test_only_broken_images_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "words.jpg").write_text("no image")
    with pytest.raises(SystemExit, match="2"):
        picked(model, tmp_path / "pool", "--count", 1)
    assert "none of 1 image can be read" in capsys.readouterr().err
    assert not Path("out/picked.json").exists()


def run_of(model: Path, tmp_path: Path, count: int = 4) -> Path:
    """A run folder with this model as its best, trained on ``count`` images in ``tmp_path/data``."""
    run, split = tmp_path / "run", write_coco_detection(tmp_path / "data", count, empty=0)
    shutil.copytree(model, run / "best")
    (run / "recipe.yaml").write_text(recipe_to_yaml(detection_recipe(run, split, Path("nowhere"))))
    return run


def test_the_training_images_of_the_run_are_left_out_and_kept_away_from(
    model: Path, pool: Path, tmp_path: Path
) -> None:
    run = run_of(model, tmp_path)
    old = next((tmp_path / "data" / "images").iterdir())
    shutil.copy(old, pool / "a" / "labeled.png")
    content = picked(run, pool, "--count", 6)
    assert "a/labeled.png" not in names(content, pool) and len(content["picked"]) == 5
    assert content["labeled"] == 8, "its training and its validation images"
    assert "1 image left out: labeled" in content["notes"][0]
    assert all(entry["distance"] is not None for entry in content["picked"])
    by_path = picked(model, pool, "--count", 6, "--labeled", tmp_path / "data", out="by-path")
    assert names(by_path, pool) == names(content, pool) and by_path["labeled"] == 4
    assert picked(model, pool, "--count", 6, "--labeled", run, out="by-run")["picked"] == content["picked"]


def test_a_rare_class_is_named_with_the_number_of_its_labels(model: Path, pool: Path, tmp_path: Path) -> None:
    run = run_of(model, tmp_path)
    file = tmp_path / "data" / "annotations.json"
    content = json.loads(file.read_text())
    ids = {entry["name"]: entry["id"] for entry in content["categories"]}
    for at, entry in enumerate(content["annotations"]):
        entry["category_id"] = ids["cone" if at else "brick"]
    file.write_text(json.dumps(content))
    reasons = [entry["reasons"][1] for entry in picked(run, pool, "--count", 5)["picked"]]
    assert all(reason.startswith("a rare class: brick (0.") for reason in reasons)
    assert all(reason.endswith(", 1 labeled)") for reason in reasons)


def test_a_run_whose_data_is_gone_says_so(model: Path, pool: Path, tmp_path: Path) -> None:
    run = run_of(model, tmp_path)
    shutil.rmtree(tmp_path / "data")
    content = picked(run, pool, "--count", 2)
    assert content["labeled"] is None and len(content["picked"]) == 2
    assert "name what is labeled with --labeled" in content["notes"][0]


@pytest.mark.parametrize("kind", ["segmenter", "deformable_detr_two_stage"])
def test_stage_two_and_sigmoids(kind: str, pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = save_segmenter(folder) if kind == "segmenter" else save_family(kind, folder)
    content = picked(model, pool, "--count", 2, "--by", "entropy")
    assert len(content["picked"]) == 2 and content["picked"][0]["entropy"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent/model/x", "pool", "--count", "1"], "no such folder"),
        (["model", "absent", "--count", "1"], "does not exist"),
        (["model", "pool", "--count", "1", "--labeled", "absent"], "no such file or folder"),
        (["model", "pool", "--count", "1", "--copy-to", "pool/chosen"], "only read"),
        (["empty-run", "pool", "--count", "1"], "no best/ yet"),
    ],
)
def test_what_is_refused(
    words: list[str], said: str, model: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model").symlink_to(model)
    Path("empty-run").mkdir()
    Path("empty-run/recipe.yaml").write_text("task: detection")
    with pytest.raises(SystemExit, match="2"):
        picked(*words)
    assert said in capsys.readouterr().err


def test_an_exported_model_is_refused(model: Path, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = find_pool([str(pool)])
    exported = Predictor.from_pretrained(model, device="cpu")
    exported.task = object()
    monkeypatch.setattr(score, "_loaded", lambda *given: exported)
    with pytest.raises(ValueError, match="exported"):
        score.score_images(images, score.Model(str(model)), Path("scores.jsonl"), True, "images")


def test_names_are_those_of_the_model(model: Path) -> None:
    assert list(Predictor.from_pretrained(model, device="cpu").labels.names) == list(THING_LABELS.names)
