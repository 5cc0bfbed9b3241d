"""Class folders: both layouts, names of classes, files under other names, links that lead out, huge files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources import detect, open_place
from detr_hf.data.sources.base import Place, Source
from detr_hf.data.sources.class_folders import class_of_folder
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Reading
from tests.data.messy_sets import write_class_folders
from tests.raw_factories import SQUARE, ClassFolder, photo, write_tidy_raw


def opened(raw: Path, **settings: Any) -> Source:
    return open_place(Place(raw, "raw", reading=Reading(**settings)), "class-folders")[1].splits["train"]


def read(raw: Path, **settings: Any) -> tuple[dict[str, Sample], list[str]]:
    """Samples that have an image, by file name; codes of all issues."""
    source = opened(raw, **settings)
    samples = list(source.samples())
    assert len(source) == len(samples) and len({one.file_name for one in samples}) == len(samples)
    issues: list[Issue] = [*source.issues(), *(issue for one in samples for issue in one.issues)]
    return {one.file_name: one for one in samples if one.image is not None}, [one.code for one in issues]


@pytest.fixture
def folder(tmp_path: Path) -> ClassFolder:
    return ClassFolder(tmp_path / "raw", "chiller", "chiller")


def test_what_a_folder_holds(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.outlined(folder.listed("a.png"))
    folder.close()
    door = detect(folder.root)
    assert door is not None and door.FORMAT == "class-folders"
    samples, codes = read(folder.root)
    found = samples["chiller/images/a.png"]
    assert codes == [] and found.declared_hw == (48, 64) and found.image_id == 1
    assert found.image == folder.root / "chiller" / "images" / "a.png"
    (one,) = found.objects
    assert (one.category, one.segmentation, one.bbox, one.where) == (
        "chiller",
        [SQUARE],
        [10.0, 10.0, 30.0, 20.0],
        "annotation 1",
    )
    assert opened(folder.root).categories() == [{"id": 1, "name": "chiller", "isthing": 1}]
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_file_serves_one_entry_alone(folder: ClassFolder) -> None:
    """ "a.png" is there under its own name; that "a.jpg" is not there is no reason to take it twice."""
    folder.save("a.png", 1)
    for said in ("a.jpg", "a.png"):
        folder.outlined(folder.listed(said))
    folder.close()
    samples, codes = read(folder.root)
    assert [len(one.objects) for one in samples.values()] == [1] and codes == ["image-missing"]


def test_layouts_side_by_side_are_told_by_their_samples(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "raw")
    source = opened(tmp_path / "raw")
    assert not source.is_panoptic
    samples, codes = read(tmp_path / "raw")
    assert "layouts-mixed" in codes
    assert {name.split("/")[0] for name, one in samples.items() if one.id_map is not None} == {"lime"}
    stuff = {one.category: dict(one.extra) for one in samples["lime/images/fine.jpg"].objects}
    assert stuff == {"sky": {"pseudo": True}, "lime": {}, "thing": {"pseudo": True}}
    for file in (tmp_path / "raw").glob("*/coco.json"):
        file.unlink()
    assert opened(tmp_path / "raw").is_panoptic


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
def test_a_remark_in_brackets_is_cut(folder: str, expected: str) -> None:
    assert class_of_folder(folder) == expected


@pytest.mark.parametrize(
    ("name", "naming", "label", "expected", "codes"),
    [
        ("water_tank_(50%)", "annotations", "Water Tank", "water_tank", ["class-spelling"]),
        ("water_tank_(50%)", "annotations", "cistern", "cistern", ["other-class"]),
        ("water_tank_(50%)", "folder", "cistern", "water_tank", ["class-spelling"]),
        ("water_tank_(50%)", "annotations", "water_tank", "water_tank", []),
        ("mill_(b)", "annotations", "mill_(b)", "mill_(b)", []),
        ("mill_(b)", "annotations", "mill", "mill", []),
        *(
            ("skid_steer_loader_(bobcat)", naming, label, "skid_steer_loader_(bobcat)", codes)
            for naming in ("annotations", "folder")
            for label, codes in (
                ("skid_steer_loader_(bobcat)", []),
                ("Skid steer loader", ["class-spelling"]),
            )
        ),
    ],
)
def test_names_of_classes(
    name: str, naming: str, label: str, expected: str, codes: list[str], tmp_path: Path
) -> None:
    made = ClassFolder(tmp_path, name, "chiller")
    made.categories[0]["name"] = label
    made.save("a.png", 1)
    made.outlined(made.listed("a.png"))
    made.close()
    assert [entry["name"] for entry in opened(tmp_path, class_names=naming).categories()] == [expected]
    samples, found = read(tmp_path, class_names=naming)
    assert found == codes and samples[f"{name}/images/a.png"].objects[0].category == expected


def test_a_class_that_is_thing_here_and_stuff_there_is_refused(tmp_path: Path) -> None:
    raw = write_tidy_raw(tmp_path / "raw")
    file = raw / "marble" / "coco.json"
    said = json.loads(file.read_text())
    said["categories"].append({"id": 99, "name": "chiller", "isthing": 0})
    file.write_text(json.dumps(said))
    with pytest.raises(UserError, match="class chiller is a thing in chiller and stuff in marble"):
        opened(raw).categories()


def test_unlisted_images_may_stay_as_negatives(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.close()
    assert read(folder.root)[1] == ["unlisted"]
    samples, codes = read(folder.root, unlisted_images="keep")
    assert codes == ["unlisted-kept"] and samples["chiller/images/a.png"].objects == []


def test_which_of_two_layouts_is_read(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "raw")
    empty = '{"images": [], "annotations": [], "categories": []}'
    (tmp_path / "raw" / "lime" / "coco.json").write_text(empty)
    for layout, expected in (("auto", False), ("outlines", False), ("panoptic", True)):
        samples, codes = read(tmp_path / "raw", layout=layout)
        assert ("lime/images/fine.jpg" in samples) is expected and "two-layouts" in codes


def test_painted_masks_are_objects_unless_asked_for_otherwise(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.outlined(folder.listed("a.png"), {"size": [48, 64], "counts": [48 * 64]}, iscrowd=1)
    folder.close()
    for setting, crowd, codes in (("objects", False, ["painted"]), ("crowd", True, [])):
        samples, found = read(folder.root, painted_masks=setting)
        assert samples["chiller/images/a.png"].objects[0].iscrowd is crowd and found == codes


def test_a_link_within_the_folder_is_followed(folder: ClassFolder) -> None:
    target = folder.root / "shared.jpg"
    photo(1).save(target)
    (folder.pictures / "a.jpg").symlink_to(target)
    folder.outlined(folder.listed("a.jpg"))
    folder.close()
    samples, codes = read(folder.root)
    assert list(samples) == ["chiller/images/a.jpg"] and codes == ["not-read"]


@pytest.mark.parametrize("part", ["", "images", "coco.json"])
def test_a_folder_or_file_that_is_a_link_out_is_refused(part: str, tmp_path: Path) -> None:
    link = tmp_path / "raw" / "chiller" / part
    link.parent.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out of"):
        list(opened(tmp_path / "raw").samples())


def test_a_huge_json_is_refused_before_it_is_read(folder: ClassFolder) -> None:
    """A sparse file: it has the size, but takes no room."""
    with (folder.root / "chiller" / "coco.json").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(UserError, match=r"chiller/coco.json: refused, the file has 2,048 MiB.*1024 MiB"):
        list(opened(folder.root).samples())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "has no list 'images'"),
        ('{"images": []}', "has no list 'annotations'"),
    ],
)
def test_an_annotation_file_that_is_none(text: str, message: str, folder: ClassFolder) -> None:
    (folder.root / "chiller" / "coco.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list(opened(folder.root).samples())


def test_a_category_that_is_none_is_an_issue(folder: ClassFolder) -> None:
    folder.save("a.png", 1)
    folder.outlined(folder.listed("a.png"))
    folder.categories[0]["id"] = None
    folder.close()
    samples, codes = read(folder.root)
    assert codes == ["category-invalid"] and samples["chiller/images/a.png"].objects[0].category is None


def test_several_json_files_of_which_none_is_the_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "lime" / "annotations").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lime" / "annotations" / f"{name}.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds 2 JSON files and none is named lime\.json"):
        list(opened(tmp_path).samples())


def test_a_folder_without_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no class folders"):
        opened(tmp_path)
