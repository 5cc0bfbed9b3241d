"""Data sets with splits of their own: their names, broken and missing ones, and images that are in two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.build import build_bundle
from detr_hf.data.check import check, fix, open_target, target_of_data
from detr_hf.data.convert import convert
from detr_hf.data.open_data import open_data
from detr_hf.data.sources.base import Opened
from detr_hf.errors import UserError
from detr_hf.recipe import Data, Split
from tests.data.pipeline_runs import pipeline
from tests.data.valid_sets import voc, yolo

pytestmark = pytest.mark.usefixtures("own_cache")


def roboflow(folder: Path, *splits: str) -> Path:
    """Two images with an object each in every split, as Roboflow writes them."""
    rng = np.random.default_rng(0)
    for split in splits:
        (folder / split).mkdir(parents=True)
        for name in ("a.png", "b.png"):
            pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{split}_{name}")
        images = [
            {"id": at, "file_name": f"{split}_{name}", "width": 64, "height": 48}
            for at, name in enumerate(("a.png", "b.png"), start=1)
        ]
        objects = [
            {"id": at, "image_id": at, "category_id": 1, "bbox": [5, 6, 20, 18], "area": 360, "iscrowd": 0}
            for at in (1, 2)
        ]
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    return folder


def codes_and_splits(path: Path) -> tuple[set[str], list[str]]:
    result = check(open_target(str(path)), threads=1)
    return {kind.code for kind in result.report.kinds() if kind.severity == "error"}, sorted(result.splits)


def test_names_of_splits_are_known_in_any_case(tmp_path: Path) -> None:
    path = roboflow(tmp_path / "set", "Train", "VAL")
    opened = open_data(Data(train=Split(path=str(path))))
    assert [source.name.split()[-1].strip("',") for source in opened.splits.values()] == ["Train", "VAL"]
    target = open_target(str(path))
    fix(target, tmp_path / "fixed", threads=1)
    assert codes_and_splits(tmp_path / "fixed") == (set(), ["train", "validation"])
    convert(Opened(target.splits), tmp_path / "yolo", "yolo", threads=1)
    assert codes_and_splits(tmp_path / "yolo") == (set(), ["train", "val"])


def test_without_training_images_check_says_what_training_says_and_a_copy_is_written(tmp_path: Path) -> None:
    path = roboflow(tmp_path / "set", "valid", "test")
    said = "there is no split 'train'; it has valid, test. Name one with data.train_split"
    with pytest.raises(UserError, match=said):
        open_data(Data(train=Split(path=str(path))))
    target = open_target(str(path))
    (place,) = check(target, threads=1).report.places("split-train")
    assert place.examples == [f"{path}: {said}"]
    fix(target, tmp_path / "fixed", threads=1)
    assert codes_and_splits(tmp_path / "fixed") == ({"split-train"}, ["test", "validation"])
    named = Data(train=Split(path=str(path)), train_split="valid", validation_split="test")
    assert check(target_of_data(named, "data"), threads=1).exit_code() == 0
    with pytest.raises(UserError, match=r"no split 'train'; it has .*data\.train_split"):
        open_data(Data(train=Split(path=str(path))))


@pytest.mark.parametrize("broken", ["train", "valid"])
@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_split_that_cannot_be_read_is_not_left_out(tmp_path: Path, content: str, broken: str) -> None:
    path = roboflow(tmp_path / "set", "train", "valid")
    (path / broken / "_annotations.coco.json").write_text(content)
    assert codes_and_splits(path)[0] == {"data"}
    for split in ("train", "valid"):
        shutil.move(path / split / "_annotations.coco.json", path / f"{split}.json")
    assert codes_and_splits(path)[0] == {"data"}


def test_prepare_leaves_the_training_copy_of_a_file_in_two_splits_out(tmp_path: Path) -> None:
    path = roboflow(tmp_path / "set", "train", "valid")
    shutil.copy(path / "valid" / "valid_a.png", path / "train" / "train_a.png")
    pipeline(path, tmp_path / "out").run()
    report = json.loads((tmp_path / "out" / "prepare_report.json").read_text())
    assert report["images"] == {"in": 4, "out": 3, "dropped": 1}
    assert [entry[1] for entry in report["files"] if entry[0] == "leak"] == ["train/train_a.png"]
    assert codes_and_splits(tmp_path / "out") == (set(), ["train", "validation"])


def test_objects_of_validation_alone_are_nothing_to_learn_from(tmp_path: Path) -> None:
    path = roboflow(tmp_path / "set", "train", "valid")
    file = path / "train" / "_annotations.coco.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    assert codes_and_splits(path)[0] == {"nothing-to-learn"}
    with pytest.raises(UserError, match="no object to learn from is left"):
        pipeline(path, tmp_path / "out").run()


def test_the_same_file_in_training_and_validation_stops_a_run_as_check_says(tmp_path: Path) -> None:
    (train, _), (validation, _) = yolo(tmp_path / "a"), voc(tmp_path / "b")
    for name in ("p1.png", "p2.png"):
        image = Image.open(validation / "JPEGImages" / name)
        image.transpose(Image.Transpose.ROTATE_180).save(validation / "JPEGImages" / name)
    data = Data(train=Split(path=str(train)), validation=Split(path=str(validation)))
    (place,) = check(target_of_data(data, "data"), threads=1).report.places("leak")
    assert (place.split, place.file) == ("validation", "JPEGImages/p0.png")
    assert place.examples == ["the same file as images/p0.png of train"]
    for _ in range(2):  # read, then from the cache
        with pytest.raises(UserError, match=rf"image is in two splits \(1\)[^$]*{place.examples[0]}"):
            build_bundle(data, tmp_path / "run")
    (validation / "JPEGImages" / "p0.png").write_bytes((validation / "JPEGImages" / "p1.png").read_bytes())
    assert check(target_of_data(data, "data"), threads=1).report.count("leak") == 0
    assert len(build_bundle(data, tmp_path / "run").dataset["validation"]) == 3


def test_a_split_that_is_named_for_both_is_meant(tmp_path: Path) -> None:
    path = str(yolo(tmp_path / "set")[0])
    data = Data(train=Split(path=path), validation=Split(path=path))
    target = target_of_data(data, "data")
    assert check(target, threads=1).exit_code() == 0 and "not quality" in target.remarks[-1]
    assert any("not quality" in note for note in build_bundle(data, tmp_path / "run").notes)


def test_what_concerns_a_whole_data_set_is_told_once_whichever_splits_are_read(tmp_path: Path) -> None:
    folder, _ = yolo(tmp_path / "set")
    (folder / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat, dog]\nnc: 5\n")
    for at, split in enumerate(("train", "val")):
        (folder / f"{split}.txt").write_text(f"images/p{at}.png\n")
    path = Split(path=str(folder))
    for data in (
        Data(train=path),
        Data(train=path, validation=Split(path=str(folder))),
        Data(train=path, train_split="val", overfit=1),
    ):
        told = [issue.code for source in open_data(data).splits.values() for issue in source.issues()]
        assert told.count("category-invalid") == 1
        assert check(target_of_data(data, "data"), threads=1).report.count("category-invalid") == 1
    assert check(open_target(str(folder)), threads=1).report.count("category-invalid") == 1
