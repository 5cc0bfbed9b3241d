"""Class folders read: both layouts, files under other names, links and names that lead out, huge files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.raw.reading.classes import class_of_folder
from detr_hf.data.raw.reading.files import FolderFiles
from detr_hf.data.raw.reading.folders import (
    FolderFacts,
    RawPicture,
    class_folders,
    read_folder,
    read_pictures,
    write_folder,
)
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Reading
from tests.raw_factories import SQUARE, ClassFolder, photo, write_messy_raw


def read(raw: Path, name: str, **settings: Any) -> tuple[FolderFacts, dict[str, RawPicture], list[str]]:
    """Facts, pictures by name, and kinds of findings."""
    facts, outcomes = read_folder(raw, name, Reading(**settings))
    made = list(outcomes)
    pictures = {picture.name: picture for picture, _ in made if picture is not None}
    return facts, pictures, [finding.kind for _, findings in made for finding in findings]


@pytest.fixture
def folder(tmp_path: Path) -> ClassFolder:
    return ClassFolder(tmp_path / "raw", "chiller", "chiller")


@pytest.mark.parametrize(
    ("said", "files", "expected"),
    [
        ("a.jpg", ["a.jpg", "a.png"], ["a.jpg", "a.png"]),  # exact: settled before likeness is asked for
        ("a.jpg", ["a.png", "b.png"], ["a.png"]),
        ("a.jpg", ["A.JPG"], ["A.JPG"]),
        ("a.jpg", ["a.JPG", "a.png"], ["a.JPG"]),
        ("a.jpg", ["a.bmp", "a.png"], ["a.bmp", "a.png"]),
        ("images/a.jpg", ["a.jpg"], ["a.jpg"]),
        ("chiller/a.jpg", ["a.jpeg"], ["a.jpeg"]),
        ("a.jpg", ["sub/a.png"], ["sub/a.png"]),
        ("a (1).jpg", ["a (1).png", "a.png"], ["a (1).png"]),
        ("v1.2.jpg", ["v1.2.png", "v1.png"], ["v1.2.png"]),
        ("caf\u00e9.jpg", ["cafe\u0301.jpg"], ["cafe\u0301.jpg"]),
        ("a.jpg", ["b.jpg"], []),
    ],
)
def test_likeness_of_names(said: str, files: list[str], expected: list[str], tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = FolderFiles(tmp_path, tmp_path)
    assert found.names == sorted(files)
    if said not in files:
        assert found.like(said, set()) == expected


def test_a_file_serves_one_entry_alone(folder: ClassFolder) -> None:
    """ "a.png" is there under its own name; that "a.jpg" is not there is no reason to take it twice."""
    folder.save("a.png", 1)
    for said in ("a.jpg", "a.png"):
        folder.outlined(folder.listed(said))
    folder.close()
    _, pictures, kinds = read(folder.root, "chiller")
    assert [len(found.annotations) for found in pictures.values()] == [1] and kinds == ["no_file"]


def test_what_a_folder_holds(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.outlined(folder.listed("a.png"))
    (folder.root / "chiller" / "class_details.txt").write_text("80 % done\n")
    folder.close()
    facts, pictures, kinds = read(folder.root, "chiller")
    assert facts == FolderFacts("chiller", "outlines", "80 % done", [{"name": "chiller", "isthing": 1}], 1)
    assert kinds == [] and pictures["a.png"].declared_hw == [48, 64]
    assert pictures["a.png"].annotations[0]["segmentation"] == [SQUARE]


def test_lines_read_back_as_they_were_written(tmp_path: Path) -> None:
    write_messy_raw(tmp_path / "raw")
    for name in class_folders(tmp_path / "raw")[0]:
        facts, outcomes = read_folder(tmp_path / "raw", name, Reading())
        made = list(outcomes)
        write_folder(tmp_path / "lines", facts, iter(made))
        wanted = [picture for picture, _ in made if picture is not None]
        assert json.dumps([vars(found) for found in read_pictures(tmp_path / "lines")]) == json.dumps(
            [vars(found) for found in wanted]
        )


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("chiller", "chiller"),
        ("concrete_pump_(50%)", "concrete_pump"),
        ("Water tank (to do)", "Water_tank"),
        ("(old)", "(old)"),
        ("a_(b)_c", "a_(b)_c"),
    ],
)
def test_the_class_of_a_folder(folder: str, expected: str) -> None:
    assert class_of_folder(folder) == expected


@pytest.mark.parametrize(
    ("naming", "label", "expected", "kinds"),
    [
        ("annotations", "Water Tank", "water_tank", ["class_spelling"]),
        ("annotations", "cistern", "cistern", ["other_class"]),
        ("folder", "cistern", "water_tank", ["class_spelling"]),
        ("annotations", "water_tank", "water_tank", []),
    ],
)
def test_names_of_classes(naming: str, label: str, expected: str, kinds: list[str], tmp_path: Path) -> None:
    made = ClassFolder(tmp_path, "water_tank_(50%)", "chiller")
    made.categories[0]["name"] = label
    made.save("a.png", 1)
    made.outlined(made.listed("a.png"))
    made.close()
    facts, pictures, found = read(tmp_path, "water_tank_(50%)", class_names=naming)
    assert [entry["name"] for entry in facts.categories] == [expected] and found == kinds
    assert pictures["a.png"].annotations[0]["category"] == expected


def test_unlisted_pictures_may_stay_as_negatives(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.close()
    assert read(folder.root, "chiller")[2] == ["unlisted"]
    _, pictures, kinds = read(folder.root, "chiller", unlisted_images="keep")
    assert kinds == ["unlisted_kept"] and pictures["a.png"].annotations == []


def test_which_of_two_layouts_is_read(tmp_path: Path) -> None:
    write_messy_raw(tmp_path / "raw")
    (tmp_path / "raw" / "lime" / "coco.json").write_text(
        '{"images": [], "annotations": [], "categories": []}'
    )
    for layout, expected in (("auto", "outlines"), ("outlines", "outlines"), ("panoptic", "panoptic")):
        facts, _, kinds = read(tmp_path / "raw", "lime", layout=layout)
        assert facts.layout == expected and "two_layouts" in kinds


def test_a_link_within_the_raw_folder_is_followed(folder: ClassFolder) -> None:
    target = folder.root / "shared.jpg"
    photo(1).save(target)
    (folder.pictures / "a.jpg").symlink_to(target)
    folder.outlined(folder.listed("a.jpg"))
    folder.close()
    _, pictures, kinds = read(folder.root, "chiller")
    assert list(pictures) == ["a.jpg"] and kinds == []


@pytest.mark.parametrize("part", ["images", "coco.json"])
def test_a_folder_or_file_that_is_a_link_out_is_refused(part: str, tmp_path: Path) -> None:
    (tmp_path / "raw" / "chiller").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "raw" / "chiller" / part).symlink_to(outside)
    with pytest.raises(UserError, match="leads out of"):
        read(tmp_path / "raw", "chiller")


def test_a_class_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "raw" / "chiller").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out of"):
        class_folders(tmp_path / "raw")


def test_a_huge_json_is_refused_before_it_is_read(folder: ClassFolder) -> None:
    """A sparse file: it has the size, but takes no room."""
    with (folder.root / "chiller" / "coco.json").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(UserError, match=r"chiller/coco.json: refused, the file has 2,048 MiB.*1024 MiB"):
        read(folder.root, "chiller")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "lacks an object at the top"),
        ('{"images": []}', "lacks the list 'annotations', the list 'categories'"),
        ('{"images": [], "annotations": [], "categories": [{"id": "5"}]}', "needs a whole number `id`"),
    ],
)
def test_an_annotation_file_that_is_none(text: str, message: str, folder: ClassFolder) -> None:
    (folder.root / "chiller" / "coco.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read(folder.root, "chiller")


def test_several_json_files_of_which_none_is_the_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "lime" / "annotations").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lime" / "annotations" / f"{name}.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds 2 JSON files and none is named lime\.json"):
        read(tmp_path, "lime")


def test_a_raw_folder_without_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no class folders"):
        class_folders(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        class_folders(tmp_path / "nowhere")
