"""What the check can be pointed at, and the command around it: exit codes, files written, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from PIL import Image

from detr_hf import cli
from detr_hf.data.bundle import dataset_features
from detr_hf.data.check import check, fix, open_target
from detr_hf.data.check_text import as_text
from detr_hf.labels import LabelMap
from tests.data.check.planted import codes, panoptic
from tests.factories import write_coco_detection, write_coco_panoptic


def run(*arguments: str) -> int:
    """The exit code of `detr-hf check`."""
    try:
        cli.main(["check", *arguments, "--threads", "1"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def write_prepared(folder: Path) -> Path:
    """A folder as `detr-hf prepare` leaves it: data.yaml, a panoptic JSON and PNGs for each split."""
    data: dict[str, Any] = {}
    for seed, role in enumerate(("train", "validation")):
        split = write_coco_panoptic(folder / role, count=2, seed=seed)
        data[role] = {
            "annotations": f"{role}/{Path(split.place).name}",
            "images": f"{role}/images",
            "panoptic": f"{role}/panoptic",
        }
    (folder / "data.yaml").write_text(yaml.safe_dump({"data": data}))
    return folder


def write_saved(folder: Path, boxes: list[Any]) -> Path:
    """A saved DatasetDict with one row a box in `train`, and one more in `validation`."""
    labels = LabelMap.from_names(["brick", "cone"])
    rows = []
    for at, box in enumerate([*boxes, [1.0, 2.0, 10.0, 12.0]]):
        image = Image.new("RGB", (40, 30), (at, 0, 0))
        objects = {"id": [at], "bbox": [box], "category": [at % 2], "area": [9.0], "iscrowd": [False]}
        row = {"image": image, "image_id": at, "file_name": f"{at}.png", "width": 40, "height": 30}
        rows.append(row | {"objects": objects})
    made = datasets.Dataset.from_list(rows, features=dataset_features(labels.names, False))
    splits = {"train": made.select(range(len(boxes))), "validation": made.select([len(boxes)])}
    datasets.DatasetDict(splits).save_to_disk(folder)
    labels.save(folder)
    return folder


def test_a_json_finds_its_folders_or_is_listed_them(tmp_path: Path) -> None:
    split = panoptic(tmp_path)
    assert codes(check(open_target(split.place), threads=1)) == {}
    (tmp_path / "images").rename(tmp_path / "photos")
    (tmp_path / "panoptic").rename(tmp_path / "maps_of_ids")
    given = open_target(split.place, str(tmp_path / "photos"), str(tmp_path / "maps_of_ids"))
    assert codes(check(given, threads=1)) == {}


def test_a_prepared_folder_is_checked_whole(tmp_path: Path) -> None:
    result = check(open_target(str(write_prepared(tmp_path))), threads=1)
    assert {name: held.images for name, held in result.splits.items()} == {"train": 2, "validation": 2}
    assert result.labels is not None and result.labels.names == ("brick", "cone", "plank", "sky", "ground")
    assert result.exit_code() == 0


def test_a_saved_data_set_is_checked_and_saved_again_repaired(tmp_path: Path) -> None:
    boxes = [[1.0, 2.0, 10.0, 12.0], [1.0, float("nan"), 10.0, 12.0], [30.0, 2.0, 30.0, 12.0]]
    target = open_target(str(write_saved(tmp_path / "saved", boxes)))
    result = check(target, threads=1)
    assert codes(result) == {"box-malformed": 1, "box-clipped": 1}
    assert result.splits["train"].images == 3 and result.splits["validation"].images == 1
    made = fix(target, tmp_path / "repaired")
    assert made.report.count("box-malformed") == 1
    again = check(open_target(str(tmp_path / "repaired")), threads=1)
    assert again.exit_code() == 0 and again.splits["train"].images == 3
    assert again.splits["train"].objects == 2
    assert again.labels == result.labels


def test_rows_without_an_image_are_found(tmp_path: Path) -> None:
    made = datasets.load_from_disk(str(write_saved(tmp_path / "saved", [[1.0, 2.0, 10.0, 12.0]] * 2)))
    train = made["train"].cast_column("image", datasets.Image(decode=False))
    rows = [row | {"image": None} if at == 0 else row for at, row in enumerate(train)]
    datasets.Dataset.from_list(rows, features=made["train"].features).save_to_disk(tmp_path / "holes")
    result = check(open_target(str(tmp_path / "holes")), threads=1)
    assert codes(result)["row"] == 1 and result.splits["train"].images == 2


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("none.json", "there is no such file or folder"),
        ("folder", "no format is recognized; the folder is empty"),
        ("list.json", "no format is recognized; it is a file"),
        ("task.yaml", "task"),
    ],
)
def test_what_is_no_data_set_is_refused_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "task.yaml").write_text("task: cooking\n")
    assert run(str(tmp_path / target)) == 2
    assert said in capsys.readouterr().err


def test_exit_codes_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = panoptic(tmp_path / "good")
    assert run(split.place, "--strict") == 0
    assert "no errors, 0 warnings" in capsys.readouterr().out

    warned = write_coco_panoptic(tmp_path / "warned", count=2).place
    assert run(warned) == 0 and run(warned, "--strict") == 1

    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = "none"

    bad = write_coco_detection(tmp_path / "bad", mend=spoil).place
    written = tmp_path / "found" / "check.json"
    assert run(bad, "--json", str(written), "--html", str(tmp_path / "found" / "check.html")) == 1
    listed = json.loads(written.read_text())
    (finding,) = [entry for entry in listed["findings"] if entry["code"] == "box-malformed"]
    assert finding["severity"] == "error" and finding["count"] == 1 == listed["errors"]
    assert [(place["split"], place["file"]) for place in finding["files"]] == [("train", "001.jpg")]
    assert (tmp_path / "found" / "check.html").read_text().startswith("<!doctype html>")


def test_fix_ends_with_the_state_of_the_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = None

    bad = write_coco_detection(tmp_path / "bad", mend=spoil).place
    out = tmp_path / "repaired"
    assert run(bad, "--fix", str(out)) == 0
    assert "the copy has no errors" in capsys.readouterr().out
    changes = json.loads((out / "changes.json").read_text())
    assert changes["counts"] == {"no-shape": 1, "no-objects": 1}
    assert [one["file"] for one in changes["changes"] if one["kind"] == "no-shape"] == ["001.jpg"]
    assert run(bad, "--fix", str(out)) == 2, "a folder in use is not written to"
    assert run(str(out)) == 0 and run(str(out / "data.yaml")) == 0
    assert run(str(out), "--fix", str(tmp_path / "again")) == 0 and not (tmp_path / "again").exists()
    assert "nothing to repair, so " in capsys.readouterr().out


def test_a_recipe_is_checked_by_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = write_coco_detection(tmp_path)
    recipe = {
        "task": "detection",
        "output_dir": str(tmp_path / "run"),
        "optim": {"epochs": 1},
        "data": {"train": {"annotations": split.place, "images": split.images}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(str(tmp_path / "recipe.yaml")) == 0
    assert not (tmp_path / "run").exists(), "a check is no run"
    assert "queries" not in capsys.readouterr().out
    recipe["model"] = {"num_queries": 1}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(str(tmp_path / "recipe.yaml")) == 0
    assert "more objects than queries" in capsys.readouterr().out, "the queries are those of its model"
    assert run(str(tmp_path / "recipe.yaml"), "--images", "x") == 2


def test_the_widths_of_the_classes_are_told_without_a_fault(tmp_path: Path) -> None:
    boxes = [[0.0, 0.0, 12.0, 20.0], [5.0, 5.0, 3.0, 9.0], [0.0, 0.0, 9.0, 9.0]]
    text = as_text(check(open_target(write_saved(tmp_path, boxes)), threads=1))
    told = "  median width in the network, px (short edge 800, a cell of the map is 32): cone 80, brick 280"
    assert told in text.splitlines()


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    def name(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "a\x1b[2J\n.jpg"

    text = as_text(check(open_target(write_coco_detection(tmp_path, mend=name).place), threads=1))
    assert "\x1b" not in text and "image-missing" in text
