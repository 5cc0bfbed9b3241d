"""Every kind of fault, planted one at a time in a sound set: found by its code, in its file, and mended."""

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

from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import LabelMap
from detr_hf.prepare.build import coco_source
from detr_hf.prepare.check.mend import mend_target
from detr_hf.prepare.check.rules import ERROR, RULES
from detr_hf.prepare.check.run import check_target
from detr_hf.prepare.check.targets import open_target, target_of_data
from detr_hf.prepare.findings import Report
from detr_hf.prepare.reading import checked_rows, class_of_categories
from detr_hf.recipe import Data, Split
from tests.prepare.check.planted import (
    ALLOWED_BESIDE,
    DETECTION,
    PANOPTIC,
    Content,
    Plant,
    checked,
    codes,
    detection,
    gray,
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
def test_a_fault_of_a_detection_set_is_found_and_mended(tmp_path: Path, code: str, plant: Plant) -> None:
    found_and_mended(detection(tmp_path / "set", plant), code, tmp_path)


@pytest.mark.parametrize(("code", "plant"), named(PANOPTIC))
def test_a_fault_of_a_panoptic_set_is_found_and_mended(tmp_path: Path, code: str, plant: Plant) -> None:
    found_and_mended(panoptic(tmp_path / "set", plant), code, tmp_path)


def found_and_mended(split: Split, code: str, tmp_path: Path) -> None:
    before = content_of(tmp_path / "set")
    target = target_of(split)
    result = check_target(target, threads=1)
    found = codes(result)
    assert code in found
    assert set(found) - {code} <= ALLOWED_BESIDE.get(code, set()), found
    assert result.exit_code() == int(any(RULES[name].severity == ERROR for name in found))
    assert result.exit_code(strict=True) == 1
    assert stops(split, tmp_path) <= result.exit_code(), "the reader refuses what the check lets pass"
    changes = mend_target(target, result, tmp_path / "mended", threads=1)
    again = check_target(open_target(str(tmp_path / "mended")), threads=1)
    assert again.exit_code() == 0, codes(again)
    mended = open_target(str(tmp_path / "mended")).data.train
    assert mended is not None
    assert stops(mended, tmp_path) == 0
    assert changes or RULES[code].severity != ERROR
    assert content_of(tmp_path / "set") == before, "the source was written to"


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def stops(split: Split, tmp_path: Path) -> int:
    """1 where reading the set for training raises."""
    try:
        source = coco_source(split, "data.train")
        labels = LabelMap.from_coco(source.categories())
        report = Report(source.name)
        list(checked_rows(source, class_of_categories(source, labels, report), report))
    except UserError:
        return 1
    return 0


def test_every_rule_can_be_found() -> None:
    tested = "".join(file.read_text() for file in Path(__file__).parent.glob("*.py"))
    assert [code for code in RULES if f'"{code}"' not in tested] == []


def test_the_documentation_lists_every_kind_with_its_severity() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+) \| (error|warning|info) \|", text, re.M)
    listed = {code: severity for cell, severity in rows for code in re.findall(r"`([a-z-]+)`", cell)}
    assert listed == {code: rule.severity for code, rule in RULES.items()}


def test_every_code_that_the_reader_gives_is_known() -> None:
    folder = Path(coco_source.__code__.co_filename).parent
    text = "".join((folder / f"{name}.py").read_text() for name in ("coco", "hf", "rows"))
    given = set(re.findall(r'(?:Fault|FaultError)\(\s*"([a-z-]+)"', text))
    given |= set(re.findall(r'report\.fault\([^)]*?, "([a-z-]+)"', text))
    assert given <= set(RULES) and {"image-id", "png-size", "box-malformed", "row"} <= given, given


def test_the_same_picture_in_two_splits_is_an_error_and_leaves_training(tmp_path: Path) -> None:
    train, validation = detection(tmp_path / "a"), detection(tmp_path / "b")
    for name in ("000.jpg", "002.jpg", "003.jpg"):
        path = tmp_path / "b" / "images" / name
        Image.fromarray(np.roll(np.array(Image.open(path)), 5, 0)).save(path)
    target = target_of_data(Data(train=train, validation=validation), "data")
    result = check_target(target, threads=1)
    assert codes(result) == {"leak": 1}
    (kind,) = [kind for kind in result.ledger.kinds() if kind.rule.code == "leak"]
    assert [(place.split, place.file) for place in kind.places] == [("validation", "001.jpg")]
    mend_target(target, result, tmp_path / "mended", threads=1)
    again = check_target(open_target(str(tmp_path / "mended")), threads=1)
    assert again.exit_code() == 0 and set(codes(again)) == {"class-only-in-validation"}
    assert again.splits["train"].images == 3 and again.splits["validation"].images == 4


def test_classes_that_only_validation_has(tmp_path: Path) -> None:
    def another(content: Content, _: Path) -> None:
        content["categories"].append({"id": 40, "name": "crane"})
        content["annotations"][0]["category_id"] = 40

    train = detection(tmp_path / "a")
    validation = detection(tmp_path / "b", another)
    for path in (tmp_path / "b" / "images").iterdir():
        Image.fromarray(np.roll(np.array(Image.open(path)), 5, 0)).save(path)
    target = target_of_data(Data(train=train, validation=validation), "data")
    result = check_target(target, threads=1)
    assert codes(result) == {"class-not-in-label-map": 1}
    mend_target(target, result, tmp_path / "mended", threads=1)
    again = check_target(open_target(str(tmp_path / "mended")), threads=1)
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
        result = check_target(target, threads=1)
        assert "box-format" in codes(result)
        mend_target(target, result, tmp_path / f"{name}-mended")
        again = check_target(open_target(str(tmp_path / f"{name}-mended")), threads=1)
        assert again.exit_code() == 0, codes(again)
        content = json.loads((tmp_path / f"{name}-mended" / "train" / "annotations.json").read_text())
        assert content["annotations"][0]["bbox"] == pytest.approx(expected)


def test_info_is_told_and_harms_nobody(tmp_path: Path) -> None:
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
    assert set(found) - set(expected) == {"class-imbalance"} and result.exit_code(strict=True) == 0


def test_colors_and_upright_turns_are_told(tmp_path: Path) -> None:
    def plant(content: Content, folder: Path) -> None:
        del content["categories"][0]["color"]
        path = folder / "images" / "000.jpg"
        exif = Image.Exif()
        exif[0x0112] = 3
        with Image.open(path) as picture:
            picture.load()
            picture.save(path, exif=exif)

    found = codes(checked(panoptic(tmp_path, plant)), but_info=False)
    assert found.get("color-missing") == 1
    assert "exif-turned" not in found, "a half turn changes no size and no tool trips over it"


def test_void_classes_are_told(tmp_path: Path) -> None:
    split = detection(tmp_path)
    LabelMap.from_coco(json.loads(Path(split.annotations).read_text())["categories"], void=["cone"]).save(
        tmp_path
    )
    target = target_of_data(Data(train=split, labels=str(tmp_path / "label_map.json")), "data")
    assert codes(check_target(target, threads=1), but_info=False)["class-void"] == 1


def test_a_broken_file_stops_neither_the_check_nor_the_other_split(tmp_path: Path) -> None:
    train, validation = detection(tmp_path / "a"), detection(tmp_path / "b")
    Path(train.annotations).write_text("{")
    result = check_target(target_of_data(Data(train=train, validation=validation), "data"), threads=1)
    assert codes(result)["data"] == 1 and result.splits["validation"].images == 4
    assert result.exit_code() == 1


def test_a_turned_box_lies_on_its_object(tmp_path: Path) -> None:
    """Orientation 6: the file is 90x120 as stored, its upright picture 120x90."""
    target = target_of(detection(tmp_path / "set", sideways))
    mend_target(target, check_target(target, threads=1), tmp_path / "mended")
    content = json.loads((tmp_path / "mended" / "train" / "annotations.json").read_text())
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
    mend_target(target, check_target(target, threads=1), tmp_path / "mended")
    written = np.array(Image.open(tmp_path / "mended" / "train" / "panoptic" / name))
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
    result = check_target(target, threads=1)
    write_json(tmp_path / "check.json", result.as_dict())
    mend_target(target, result, tmp_path / "mended", threads=1)
    again = check_target(open_target(str(tmp_path / "mended")), threads=1)
    assert again.exit_code() == 0, codes(again)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything below the entries of a list."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value, dict):
            yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])
