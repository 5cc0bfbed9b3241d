"""Every kind of fault, planted one at a time in a sound set: found by its code, in its file, and repaired."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.check import check, fix, open_target, target_of_data
from detr_hf.data.issues import ERROR, KINDS
from detr_hf.data.open_data import open_data
from detr_hf.data.reading import checked_rows
from detr_hf.data.report import Report
from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data, Split
from detr_hf.seen_sizes import NetworkInput
from tests.data.check.planted import (
    ALLOWED_BESIDE,
    DETECTION,
    PANOPTIC,
    Content,
    Plant,
    checked,
    codes,
    detection,
    gray,
    many,
    panoptic,
    sideways,
    target_of,
)


def named(cases: list[tuple[str, Plant]]) -> list[Any]:
    return [pytest.param(*case, id=f"{case[0]}-{at}") for at, case in enumerate(cases)]


def test_sound_sets_have_no_finding(tmp_path: Path) -> None:
    assert codes(checked(detection(tmp_path / "boxes"))) == {}
    assert codes(checked(panoptic(tmp_path / "masks"))) == {}


@pytest.mark.parametrize(("code", "plant"), named(DETECTION))
def test_a_fault_of_a_detection_set_is_found_and_repaired(tmp_path: Path, code: str, plant: Plant) -> None:
    found_and_repaired(detection(tmp_path / "set", plant), code, tmp_path)


@pytest.mark.parametrize(("code", "plant"), named(PANOPTIC))
def test_a_fault_of_a_panoptic_set_is_found_and_repaired(tmp_path: Path, code: str, plant: Plant) -> None:
    found_and_repaired(panoptic(tmp_path / "set", plant), code, tmp_path)


def found_and_repaired(split: Split, code: str, tmp_path: Path) -> None:
    before = content_of(tmp_path / "set")
    target = target_of(split)
    result = check(target, threads=1)
    found = codes(result)
    assert code in found
    assert set(found) - {code} <= ALLOWED_BESIDE.get(code, set()), found
    assert result.exit_code() == int(any(KINDS[name].severity == ERROR for name in found))
    assert result.exit_code(strict=True) == 1
    assert stops(Data(train=split)) <= result.exit_code(), "the reader refuses what the check lets pass"
    changes = fix(target, tmp_path / "repaired", threads=1)
    again = check(open_target(str(tmp_path / "repaired")), threads=1)
    assert again.exit_code() == 0, codes(again)
    assert stops(Data(train=Split(path=str(tmp_path / "repaired")))) == 0
    assert changes or KINDS[code].severity != ERROR
    assert content_of(tmp_path / "set") == before, "the source was written to"


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def stops(data: Data) -> int:
    """1 where reading the set for training raises."""
    try:
        opened = open_data(data)
        source = opened.splits["train"]
        labels = opened.labels or LabelMap.from_coco(source.categories())
        list(checked_rows(source, labels, Report(source.name)))
    except UserError:
        return 1
    return 0


def test_every_kind_of_issue_has_a_test() -> None:
    folder = Path(__file__).resolve().parents[2]
    tested = "".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    assert [code for code in KINDS if f'"{code}"' not in tested] == []


def test_the_documentation_lists_every_kind_with_its_severity() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`-]+) \| (error|warning|info) \|", text, re.M)
    listed = {code: severity for cell, severity in rows for code in re.findall(r"`([a-z-]+)`", cell)}
    assert listed == {code: kind.severity for code, kind in KINDS.items()}


def test_the_same_image_in_two_splits_is_an_error_and_leaves_training(tmp_path: Path) -> None:
    train, validation = detection(tmp_path / "a"), detection(tmp_path / "b")
    for name in ("000.jpg", "002.jpg", "003.jpg"):
        path = tmp_path / "b" / "images" / name
        Image.fromarray(np.roll(np.array(Image.open(path)), 5, 0)).save(path)
    target = target_of_data(Data(train=train, validation=validation), "data")
    result = check(target, threads=1)
    assert codes(result) == {"leak": 1}
    places = result.report.places("leak")
    assert [(place.split, place.file) for place in places] == [("validation", "001.jpg")]
    fix(target, tmp_path / "repaired", threads=1)
    again = check(open_target(str(tmp_path / "repaired")), threads=1)
    assert again.exit_code() == 0 and set(codes(again)) == {"class-only-in-validation"}
    assert again.splits["train"].images == 3 and again.splits["validation"].images == 4


def test_classes_too_small_for_the_network_are_named_before_training(tmp_path: Path) -> None:
    """Guards: a training that cannot see the objects it is to find says so after hours."""
    split = detection(tmp_path / "data", many)  # a hundred boxes of two pixels
    seen = [NetworkInput(edge, None, stride=8) for edge in (16, 640)]
    small, large = (check(target_of_data(Data(train=split), "data", one), threads=1) for one in seen)
    assert "class-small" not in codes(large)
    (text, *_) = small.report.texts("class-small")
    assert "objects are narrower than one 8-px cell at short edge 16" in text and "short_edges" in text


def test_classes_that_only_validation_has(tmp_path: Path) -> None:
    def another(content: Content, _: Path) -> None:
        content["categories"].append({"id": 40, "name": "crane"})
        content["annotations"][0]["category_id"] = 40

    train = detection(tmp_path / "a")
    validation = detection(tmp_path / "b", another)
    for path in (tmp_path / "b" / "images").iterdir():
        Image.fromarray(np.roll(np.array(Image.open(path)), 5, 0)).save(path)
    target = target_of_data(Data(train=train, validation=validation), "data")
    result = check(target, threads=1)
    assert codes(result) == {"class-not-in-label-map": 1}
    fix(target, tmp_path / "repaired", threads=1)
    again = check(open_target(str(tmp_path / "repaired")), threads=1)
    assert codes(again) == {"class-only-in-validation": 1}, "nothing is lost, and it is still said"


def test_boxes_as_shares_and_as_corners_are_converted(tmp_path: Path) -> None:
    def shares(content: Content, _: Path) -> None:
        for entry in content["annotations"]:
            entry.update(bbox=[0.1, 0.2, 0.5, 0.5], area=0.25, segmentation=[])

    def corners(content: Content, _: Path) -> None:
        one = content["annotations"][0]
        content["annotations"] = [
            one | {"id": at, "image_id": 10 + at % 4, "segmentation": [], "bbox": [40 + at, 50, 80 + at, 90]}
            for at in range(8)
        ] + [one | {"id": 90 + at, "segmentation": [], "bbox": [60, 50 + at, 90, 96]} for at in range(20)]

    for name, plant, expected in (
        ("shares", shares, [12.8, 19.2, 64.0, 48.0]),
        ("corners", corners, [40, 50, 40, 40]),
    ):
        target = target_of(detection(tmp_path / name, plant))
        result = check(target, threads=1)
        assert "box-format" in codes(result)
        fix(target, tmp_path / f"{name}-repaired", threads=1)
        again = check(open_target(str(tmp_path / f"{name}-repaired")), threads=1)
        assert again.exit_code() == 0, codes(again)
        content = json.loads((tmp_path / f"{name}-repaired" / "train" / "annotations.json").read_text())
        assert content["annotations"][0]["bbox"] == pytest.approx(expected)


def test_info_is_listed_and_harms_nobody(tmp_path: Path) -> None:
    def plant(content: Content, folder: Path) -> None:
        content["annotations"].pop()
        content["categories"].append({"id": 50, "name": "idle"})
        for entry in content["images"]:
            del entry["width"], entry["height"]
            entry["id"] = f"a{entry['id']}"
        for entry in content["annotations"]:
            entry["image_id"] = f"a{entry['image_id']}"
        content["annotations"][0]["iscrowd"] = 1
        (folder / "images" / "more.jpg").write_bytes((folder / "images" / "000.jpg").read_bytes())

    result = checked(detection(tmp_path, plant))
    found = codes(result, but_info=False)
    expected = {
        "no-objects": 1,
        "category-unused": 1,
        "size-missing": 4,
        "text-ids": 4,
        "crowd": 1,
        "file-unlisted": 1,
    }
    assert {name: count for name, count in found.items() if name in expected} == expected
    assert (
        set(found) - set(expected) == {"class-imbalance", "class-few"} and result.exit_code(strict=True) == 0
    )


def test_colors_and_upright_turns_are_listed(tmp_path: Path) -> None:
    def plant(content: Content, folder: Path) -> None:
        del content["categories"][0]["color"]
        path = folder / "images" / "000.jpg"
        exif = Image.Exif()
        exif[0x0112] = 3
        with Image.open(path) as image:
            image.load()
            image.save(path, exif=exif)

    found = codes(checked(panoptic(tmp_path, plant)), but_info=False)
    assert found.get("color-missing") == 1
    assert found.get("exif-turned") == 1


def test_void_classes_are_listed(tmp_path: Path) -> None:
    split = detection(tmp_path)
    LabelMap.from_coco(json.loads(Path(split.annotations).read_text())["categories"], void=["cone"]).save(
        tmp_path
    )
    target = target_of_data(Data(train=split, labels=str(tmp_path / "label_map.json")), "data")
    assert codes(check(target, threads=1), but_info=False)["class-void"] == 1


def test_a_broken_file_stops_neither_the_check_nor_the_other_split(tmp_path: Path) -> None:
    train, validation = detection(tmp_path / "a"), detection(tmp_path / "b")
    Path(train.annotations).write_text("{")
    result = check(target_of_data(Data(train=train, validation=validation), "data"), threads=1)
    assert codes(result)["data"] == 1 and result.splits["validation"].images == 4
    assert result.exit_code() == 1


def test_a_turned_box_lies_on_its_object(tmp_path: Path) -> None:
    """Orientation 6: the file is 90x120 as stored, its upright image 120x90."""
    target = target_of(detection(tmp_path / "set", sideways))
    fix(target, tmp_path / "repaired", threads=1)
    content = json.loads((tmp_path / "repaired" / "train" / "annotations.json").read_text())
    image, annotation = content["images"][1], content["annotations"][1]
    assert (image["width"], image["height"]) == (120, 90)
    # x' = 120 - y - h, y' = x
    assert annotation["bbox"] == [60, 10, 40, 30]
    assert annotation["segmentation"] == [[100, 10, 100, 40, 60, 40, 60, 10]]


def test_gray_png_keeps_every_pixel(tmp_path: Path) -> None:
    split = panoptic(tmp_path / "set", gray)
    content = json.loads(Path(split.annotations).read_text())
    name = content["annotations"][1]["file_name"]
    small = np.array(Image.open(tmp_path / "set" / "panoptic" / name))
    target = target_of(split)
    fix(target, tmp_path / "repaired", threads=1)
    folder = tmp_path / "repaired" / "train"
    again = json.loads((folder / "panoptic.json").read_text())["annotations"][1]["file_name"]
    written = np.array(Image.open(folder / "panoptic" / again))
    np.testing.assert_array_equal(written, id_to_rgb(small.astype(np.int32)))


ODD = [
    None,
    True,
    -1,
    2.5,
    3.0,
    10**30,
    float("nan"),
    "",
    "3",
    "../a",
    [],
    [1],
    [[]],
    {},
    ["1", 2, 3, 4],
    "\ud800",
]


@pytest.mark.parametrize("seed", range(12))
def test_no_value_in_a_file_stops_the_check(tmp_path: Path, seed: int) -> None:
    """A few random values anywhere below the lists of the file are replaced, doubled or taken away."""
    rng = random.Random(seed)

    def plant(content: Content, _: Path) -> None:
        for _ in range(3):
            holder, key = rng.choice([at for entries in content.values() for at in places(entries)])
            holder[key] = deepcopy(rng.choice(ODD))

    target = target_of((panoptic if seed % 2 else detection)(tmp_path / "set", plant))
    result = check(target, threads=1)
    write_json(tmp_path / "check.json", result.as_dict())
    fix(target, tmp_path / "repaired", threads=1)
    again = check(open_target(str(tmp_path / "repaired")), threads=1)
    assert again.exit_code() == 0, codes(again)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything below the entries of a list."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value, dict):
            yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])
