"""COCO detection: values, ids, categories and names of files as tools and hands write them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.sources.base import Source
from tests.data.sources.coco_files import (
    Content,
    all_issues,
    changed,
    codes,
    content,
    opened,
    write,
    write_images,
)

RUNS = {"size": [48, 64], "counts": [480, 960, 1632]}


# -- values


@pytest.mark.parametrize(
    ("given", "is_crowd", "is_odd"),
    [
        (0, False, 0), (1, True, 0), (None, False, 0), (False, False, 0), (True, True, 0), ("0", False, 1),
        ("1", True, 1), ("false", False, 1), (1.0, True, 1), (2, False, 1), ("maybe", False, 1),
        ([], False, 1),
    ],
)  # fmt: skip
def test_iscrowd(tmp_path: Path, given: Any, is_crowd: bool, is_odd: int) -> None:
    source = changed(tmp_path, lambda data: data["annotations"][0].update(iscrowd=given), 1)
    (sample,) = source.samples()
    assert sample.objects[0].iscrowd is is_crowd
    assert codes(sample.issues).get("odd-type", 0) == is_odd


def test_text_that_spells_numbers_is_converted_and_told(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        data["images"][0] |= {"width": "64", "height": "48.0"}
        data["annotations"][0] |= {
            "id": "10",
            "category_id": "1",
            "bbox": ["2", "3.5", 20, 10],
            "area": "200",
        }
        data["annotations"][1] |= {"category_id": 3.0, "image_id": "1"}

    (sample,) = changed(tmp_path, change, 1).samples()
    first, second = sample.objects
    assert sample.declared_hw == (48, 64)
    assert (first.id, first.category, first.bbox, first.area) == (10, "cat", [2, 3.5, 20, 10], 200)
    assert second.category == "dog"
    assert codes(sample.issues) == {"odd-type": 7}


def test_text_that_spells_none_is_left_to_repair(tmp_path: Path) -> None:
    broken = {"bbox": ["2", "x", 20, 10], "area": "large", "category_id": True}
    (sample,) = changed(tmp_path, lambda data: data["annotations"][0].update(broken), 1).samples()
    first = sample.objects[0]
    assert (first.bbox, first.area, first.category) == (["2", "x", 20, 10], "large", None)
    assert codes(Repair()(sample).issues) == {"category-unknown": 1}


@pytest.mark.parametrize("size", [(-1, -1), (0, 0), (None, None), ("0", "0"), (64, 0)])
def test_sizes_that_are_unknown_are_those_of_the_files(tmp_path: Path, size: tuple[Any, Any]) -> None:
    def change(data: Content) -> None:
        data["images"][0] |= {"width": size[0], "height": size[1]}
        data["annotations"][0]["bbox"] = [50, 6, 20, 18]

    (sample,) = changed(tmp_path, change, 1).samples()
    repaired = Repair()(sample)
    assert repaired.sample is not None and repaired.sample.objects[0].bbox == [50, 6, 14, 18]
    assert {"size-missing", "box-clipped"} <= set(codes(repaired.issues))


@pytest.mark.parametrize("key", ["area", "bbox", "id", "image_id", "category_id", "width"])
@pytest.mark.parametrize(
    "value", [10**400, 2**63, "DIGITS", 1e400, -(10**400), "9" * 5000, {}, [1], float("nan")]
)
def test_no_value_ends_it(tmp_path: Path, key: str, value: Any) -> None:
    def change(data: Content) -> None:
        if key == "width":
            data["images"][0][key] = value
        else:
            data["annotations"][0][key] = [1, 2, 3, value] if key == "bbox" else value

    source = changed(tmp_path, change)
    source_issues = list(source.issues())
    found = [Repair()(sample) for sample in source.samples()]
    kept = [one.sample for one in found if one.sample is not None]
    told = source_issues + [issue for one in found for issue in one.issues]
    assert len(kept) == 2 and told
    assert all(isinstance(str(issue), str) and len(str(issue)) < 1000 for issue in told)


# -- ids


def test_ids_beyond_64_bits_are_numbered(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        for one in data["annotations"]:
            one["id"] += 2**64

    source = changed(tmp_path, change)
    assert [one.id for sample in source.samples() for one in sample.objects] == [None] * 4
    assert codes(all_issues(source)) == {"annotation-id": 4}


@pytest.mark.parametrize("ids", [("a", "b"), (1, 2**63), ("1", "2"), (1, "1x")])
def test_image_ids_of_text_are_numbered(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    def change(data: Content) -> None:
        for entry in (*data["images"], *data["annotations"]):
            key = "image_id" if "image_id" in entry else "id"
            entry[key] = ids[entry[key] - 1]

    source = changed(tmp_path, change)
    found = list(source.samples())
    assert [(one.file_name, one.image_id, len(one.objects)) for one in found] == [
        ("1.jpg", 1, 2),
        ("2.jpg", 2, 2),
    ]
    assert codes(all_issues(source)) == {"text-ids": 2}


def test_one_id_for_two_files_drops_both(tmp_path: Path) -> None:
    source = changed(tmp_path, lambda data: data["images"][1].update(id=1), 3)
    found = list(source.samples())
    assert [(one.image is None, len(one.objects)) for one in found] == [(True, 0), (True, 0), (False, 2)]
    assert len({one.image_id for one in found}) == 3 and found[2].image_id == 3
    assert codes(all_issues(source)) == {"image-id": 2, "annotation-orphan": 2}
    assert Repair()(found[0]).sample is None


def test_an_image_without_an_id_is_dropped(tmp_path: Path) -> None:
    for broken in (None, True, [], 1.5, float("inf")):
        source = changed(tmp_path, lambda data, broken=broken: data["images"][0].update(id=broken))  # type: ignore[misc]
        first, second = source.samples()
        assert first.image is None and codes(first.issues) == {"image-id": 1}
        assert len(second.objects) == 2


def test_an_image_that_is_listed_twice_has_the_annotations_of_both(tmp_path: Path) -> None:
    source = changed(tmp_path, lambda data: data["images"][1].update(file_name="./1.jpg"))
    (sample,) = source.samples()
    assert [one.id for one in sample.objects] == [10, 11, 20, 21] and len(source) == 1
    assert codes(sample.issues) == {"image-twice": 1}
    repeated = changed(tmp_path, lambda data: data["images"].append(deepcopy(data["images"][0])))
    first, _ = repeated.samples()
    assert [one.id for one in first.objects] == [10, 11] and codes(first.issues) == {"image-twice": 1}


def test_annotation_ids_are_each_once(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        data["annotations"][1]["id"] = 10
        data["annotations"][2]["id"] = "uuid"
        del data["annotations"][3]["id"]

    source = changed(tmp_path, change)
    assert [one.id for sample in source.samples() for one in sample.objects] == [10, None, None, None]
    texts = [issue.text for issue in all_issues(source) if issue.code == "annotation-id"]
    assert [text.split(", ")[-1] for text in texts] == [
        "it stands twice",
        "it is no whole number",
        "it has none",
    ]


def test_orphans_and_entries_that_are_no_objects(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        data["annotations"][0]["image_id"] = 99
        data["annotations"] += ["text", None]
        data["images"].append(7)

    source = changed(tmp_path, change)
    assert codes(source.issues()) == {"annotation-orphan": 1, "entry-invalid": 3}
    assert {issue.file for issue in source.issues()} == {"data.json"}
    assert [len(sample.objects) for sample in source.samples()] == [1, 2]


# -- categories


def categories(
    tmp_path: Path, *found: Any, of_objects: tuple[Any, Any] = (1, 3)
) -> tuple[Source, list[str | None]]:
    def change(data: Content) -> None:
        data["categories"] = list(found)
        for one in data["annotations"]:
            one["category_id"] = of_objects[one["category_id"] == 3]

    source = changed(tmp_path, change, 1)
    (sample,) = source.samples()
    return source, [one.category for one in sample.objects]


def test_the_root_of_roboflow_is_no_class(tmp_path: Path) -> None:
    root = {"id": 0, "name": "fish", "supercategory": "none"}
    fish = {"id": 1, "name": "fish", "supercategory": "fish"}
    source, found = categories(tmp_path, root, fish, of_objects=(1, 1))
    assert source.categories() == [fish] and found == ["fish", "fish"]
    assert codes(source.issues()) == {"category-root": 1}


def test_a_root_with_objects_is_a_class(tmp_path: Path) -> None:
    root = {"id": 0, "name": "fish", "supercategory": "none"}
    carp = {"id": 1, "name": "carp", "supercategory": "fish"}
    source, found = categories(tmp_path, root, carp, of_objects=(0, 1))
    assert found == ["fish", "carp"] and codes(source.issues()) == {}


def test_a_name_that_stands_twice_is_one_class(tmp_path: Path) -> None:
    source, found = categories(tmp_path, {"id": 1, "name": "cat"}, {"id": 3, "name": "cat"})
    assert source.categories() == [{"id": 1, "name": "cat"}] and found == ["cat", "cat"]
    assert codes(source.issues()) == {"category-invalid": 1}


def test_malformed_categories(tmp_path: Path) -> None:
    source, found = categories(
        tmp_path,
        {"id": "1", "name": 7},
        {"id": "dog", "name": "dog"},
        {"id": 5, "name": " "},
        {"id": 5, "name": "twice"},
        {"name": "none"},
        "no object",
        of_objects=(1, "dog"),
    )
    assert [(one["id"], one["name"]) for one in source.categories()] == [
        (1, "7"),
        (2, "dog"),
        (5, "category 5"),
    ]
    assert found == ["7", "dog"]
    assert codes(source.issues()) == {"odd-type": 2, "category-invalid": 4, "entry-invalid": 1}


def test_a_category_that_is_not_listed(tmp_path: Path) -> None:
    _, found = categories(tmp_path, {"id": 1, "name": "cat"})
    assert found == ["cat", None]


# -- files


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("data\\photos\\1.jpg", "file-renamed"),
        ("https://host/bucket/1.jpg?sign=x", "file-renamed"),
        ("1.png", "file-renamed"),
        ("../../1.jpg", "file-renamed"),
        ("gone.jpg", "image-missing"),
        (None, "file-name"),
        (17, "file-name"),
        ("", "file-name"),
    ],
)
def test_names_of_files(tmp_path: Path, said: Any, code: str) -> None:
    first, second = changed(tmp_path, lambda data: data["images"][0].update(file_name=said)).samples()
    assert codes(first.issues) == {code: 1} and second.issues == ()
    assert (first.image is not None) == (code == "file-renamed")
    assert (Repair()(first).sample is None) == (code != "file-renamed")


def test_absolute_names_are_found(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        for one in data["images"]:
            one["file_name"] = str(tmp_path / "images" / one["file_name"])

    assert [one.file_name for one in changed(tmp_path, change).samples()] == ["1.jpg", "2.jpg"]


def test_unlisted_images(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", content())
    write_images(tmp_path / "images", ["3.jpg"])
    source = opened(path)
    assert [(issue.code, issue.file) for issue in source.issues()] == [("file-unlisted", "3.jpg")]
    assert len(source) == len(list(source.samples())) == 2
    kept = opened(path, unlisted_images="keep")
    assert [one.file_name for one in kept.samples()] == ["1.jpg", "2.jpg", "3.jpg"] and len(kept) == 3
    assert codes(all_issues(kept)) == {"unlisted-kept": 1}


# -- painted masks


def painted(data: Content, crowds: int) -> None:
    for one in data["annotations"][:crowds]:
        one |= {"iscrowd": 1, "segmentation": RUNS}


@pytest.mark.parametrize(
    ("setting", "crowds", "are_objects"),
    [("auto", 2, False), ("auto", 3, True), ("objects", 1, True), ("crowd", 40, False)],
)
def test_painted_masks(tmp_path: Path, setting: str, crowds: int, are_objects: bool) -> None:
    data = content(20)
    painted(data, crowds)
    source = opened(write(tmp_path / "data.json", data), painted_masks=setting)
    found = [one.iscrowd for sample in source.samples() for one in sample.objects]
    assert sum(found) == (0 if are_objects else crowds)
    told = [(issue.code, issue.file) for issue in all_issues(source)]
    assert told == ([("painted", f"{1 + at // 2}.jpg") for at in range(crowds)] if are_objects else [])


def test_a_crowd_of_polygons_stays_one(tmp_path: Path) -> None:
    outline = {"iscrowd": 1, "segmentation": [[2, 3, 22, 3, 22, 13]]}
    (sample,) = changed(tmp_path, lambda data: data["annotations"][0].update(outline), 1).samples()
    assert sample.objects[0].iscrowd and sample.issues == ()
