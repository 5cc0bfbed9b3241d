"""`detr-hf review`: from a run folder to a page, numbers and a corrected copy that is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.cli import main
from detr_hf.data.build import build_bundle
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults, save_per_image
from detr_hf.recipe import Data, Split, recipe_to_yaml
from detr_hf.review.parts import learned_part
from detr_hf.run_folder import RunFolder
from tests.commands import refusal
from tests.factories import THINGS, write_coco_detection, write_coco_panoptic
from tests.html_reader import read_page
from tests.report.report_factories import write_run
from tests.tiny_runs import (
    ALL_LABELS,
    THING_LABELS,
    detection_recipe,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def judged_run(folder: Path, split: Split, *overrides: str) -> Path:
    """A run whose model sees every annotation as it is, but for the first one, which it sees as a cone."""
    run = write_run(folder, THING_LABELS)
    recipe = detection_recipe(run, split, Path("nowhere"), *overrides)
    (run / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    rows = build_bundle(recipe.data, run).dataset["validation"]
    entries = []
    for at, found in enumerate(rows.select_columns(["image_id", "objects"])):
        objects = found["objects"]
        boxes = np.array(objects["bbox"], np.float64).reshape(-1, 4)
        labels = np.array(objects["category"], np.int64)
        seen = np.where((at == 1) & (np.arange(len(labels)) == 0), (labels + 1) % len(THINGS), labels)
        boxes_of = ImageBoxes(
            boxes, np.full(len(boxes), 0.9), seen, boxes, labels, boxes[:, 2] * boxes[:, 3], labels < 0
        )
        entries.append(ImageEntry(found["image_id"], 0, boxes_of))
    save_per_image(RunFolder(run), PerImageResults(entries))
    return run


def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "review.json").read_text("utf-8"))


def test_a_swapped_class_is_found_drawn_and_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = write_coco_detection(tmp_path / "data", count=6)
    run = judged_run(tmp_path / "run", split)
    before = Path(split.annotations or "").read_bytes()
    main(["review", str(run), "--count", "1"])
    (row, *_) = numbers(run / "review")["rows"]
    assert numbers(run / "review")["images"] == {"validation": [*range(10, 16)]}
    assert row["kind"] == "class" and row["image_id"] == 11 and row["part"] == "validation"
    page = read_page(run / "review" / "review.html")
    assert len(page.all("figure")) == 1 and row["sentence"] in page.words
    (link,) = [tag["href"] for tag in page.all("a")]
    assert (run / "review" / link).resolve().samefile(tmp_path / "data" / "images" / "001.jpg")
    assert "1 proposal carried out" in capsys.readouterr().out
    assert Path(split.annotations or "").read_bytes() == before
    corrected = run / "review" / "corrected" / "validation" / "annotations.json"
    main(["convert", str(corrected), str(tmp_path / "again"), "--to", "coco", "--images", split.images or ""])
    (changed,) = [
        one
        for one in json.loads((tmp_path / "again" / "train" / "annotations.json").read_text())["annotations"]
        if "attributes" in one
    ]
    assert changed["attributes"]["review"].startswith(f"class: {row['label']}")
    bundle = build_bundle(
        Data(train=Split(annotations=str(corrected), images=split.images), overfit=6), tmp_path
    )
    first = bundle.dataset["train"][1]["objects"]["category"][0]
    assert bundle.labels.names[first] == row["seen_label"]


def test_kinds_and_threshold_choose_rows_and_nothing_is_written_for_none(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", write_coco_detection(tmp_path / "data"))
    main(["review", str(run), "--kinds", "missing", "duplicate", "--out", str(tmp_path / "a")])
    assert (
        numbers(tmp_path / "a")["rows"] == []
        and "Nothing is suspected" in read_page(tmp_path / "a" / "review.html").words
    )
    main(["review", str(run), "--apply", "none", "--threshold", "0", "--out", str(tmp_path / "b")])
    scores = [row["score"] for row in numbers(tmp_path / "b")["rows"]]
    assert len(scores) > 1 and scores == sorted(scores, reverse=True)
    assert not (tmp_path / "b" / "corrected").exists()


def test_runs_of_folds_are_reviewed_together(tmp_path: Path) -> None:
    splits = [write_coco_detection(tmp_path / f"data{at}", seed=at) for at in range(2)]
    runs = [str(judged_run(tmp_path / f"fold_{at}", split)) for at, split in enumerate(splits)]
    main(["review", runs[0], "--runs", runs[1], "--out", str(tmp_path / "out"), "--copy-images"])
    found = [row for row in numbers(tmp_path / "out")["rows"] if row["kind"] == "class"]
    assert {row["part"] for row in found} == {"fold_0", "fold_1"}
    assert {row["judge"] for row in found} == set(runs)
    made = tmp_path / "out" / "corrected"
    assert len(list(made.glob("fold_*/images/*.jpg"))) == 12


def test_training_images_are_judged_by_the_runs_that_left_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainings are replaced by runs that are finished."""
    split = write_coco_detection(tmp_path / "data", count=8)
    run = judged_run(tmp_path / "run", split)
    for at in range(2):
        fold = f"data.fold={{held_out: {at}, of: 2}}"
        judged_run(tmp_path / f"run/review/fold-{at}/detection", split, fold, "data.validation=null")
    monkeypatch.setattr("detr_hf.review.folds.train_folds", lambda *_: None)
    main(["review", str(run), "--folds", "2", "--threshold", "0"])
    found = numbers(run / "review")
    swapped = [row for row in found["rows"] if row["kind"] == "class" and row["score"] > 0.5]
    assert len({row["judge"] for row in swapped}) == 2 and found["notes"] == []
    made = json.loads((run / "review" / "corrected" / "train" / "annotations.json").read_text())
    assert len(made["images"]) == 8


def test_one_model_on_its_own_training_images_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = write_coco_detection(tmp_path / "data", count=4)
    run = judged_run(tmp_path / "run", split)
    save_detector(run / "best")
    main(["review", str(run), "--split", "train", "--threshold", "0"])
    assert "in-sample" in capsys.readouterr().out
    (note,) = numbers(run / "review")["notes"]
    assert note in read_page(run / "review" / "review.html").words


def test_a_run_in_tiles_judges_whole_images(tmp_path: Path) -> None:
    """Guards: what the first window of an image shows, in its pixels, taken for all that is seen in it."""
    split = write_coco_detection(tmp_path / "data", count=2, sizes_hw=[(96, 128)])
    run = write_run(tmp_path / "run", THING_LABELS)
    recipe = detection_recipe(run, split, Path("nowhere"), "data.tiles={size: 64, overlap: 0.3}")
    (run / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    save_detector(run / "best")
    part = learned_part(run, tmp_path / "out")
    tiled = TiledPredictor(Predictor.from_pretrained(run / "best"), 64, 0.3, least_score=0.0)
    for evidence in part.evidence:
        [expected] = tiled.stream([part.truth.row(evidence.image_id)["image"]["path"]])
        assert evidence.scores == pytest.approx(expected.detections.scores, abs=1e-5)
        assert (evidence.boxes[:, :2] + evidence.boxes[:, 2:]).max() > 64


def test_a_segmenter_speaks_of_masks(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    run = write_run(tmp_path / "run", ALL_LABELS)
    recipe = panoptic_recipe(run, split, Path("nowhere"), "fresh", "evaluation.score_threshold=0.1")
    (run / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    save_segmenter(run / "best")
    main(["review", str(run), "--threshold", "0"])
    rows = numbers(run / "review")["rows"]
    assert rows and any(row["seen_mask"] for row in rows)
    made = json.loads((run / "review/corrected/validation/annotations.json").read_text())
    assert len(made["images"]) == 4 and all(
        one["segmentation"] for one in made["annotations"] if not one.get("attributes")
    )


BAD = [
    (["--folds", "2", "--runs", "x"], "--folds trains runs, --runs names some"),
    (["--folds", "1"], "--folds 1: would leave nothing to train on"),
    (["--folds", "2", "--split", "validation"], "--folds divides the training images"),
    (["--runs", "x", "--split", "train"], "--runs judge their own validation splits"),
    (["--gpus", "0"], "--gpus does nothing without --folds"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda one: str(one)[:20])
def test_contradictions_are_refused_before_anything_is_read(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["review", str(tmp_path), *words])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_data_and_foreign_files_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = write_coco_detection(tmp_path / "data")
    run = judged_run(tmp_path / "run", split)
    assert "which is only read" in refusal(["review", str(run), "--out", f"{split.images}/review"], capsys)
    mine = tmp_path / "out" / "corrected" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("a day's work")
    assert "would be replaced" in refusal(["review", str(run), "--out", str(tmp_path / "out")], capsys)
    assert mine.read_text() == "a day's work"
    assert "is given twice" in refusal(["review", str(run), "--runs", f"{run}/../run"], capsys)


@pytest.mark.parametrize("what", ["nothing", "a folder", "a recipe"])
def test_what_is_no_run_is_refused(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "x"
    if what == "a folder":
        target.mkdir()
    elif what == "a recipe":
        target.write_text("task: detection\n")
    with pytest.raises(SystemExit):
        main(["review", str(target)])
    wanted = {
        "nothing": "there is no such run",
        "a folder": "is no folder of a run",
        "a recipe": "is a recipe",
    }
    assert wanted[what] in capsys.readouterr().err
