"""COCO detection: the JSON as many tools write it, and the folders and zips that it comes in."""

import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data.issues import Issue
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.data.sources import coco, coco_panoptic, detect, open_place
from detr_hf.data.sources.base import Place, Source
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Reading

ROOT = Path(__file__).resolve().parents[3]
BCCD = ROOT.parent / "shared" / "data" / "bccd"

Content = dict[str, Any]
RUNS = {"size": [48, 64], "counts": [480, 960, 1632]}


def content(images: int = 2) -> Content:
    """Images `1.jpg`, `2.jpg`, ... of 64 x 48, each with a cat and a dog; the dog's id is 3."""
    listed = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(1, images + 1)]
    boxes = ({"category_id": 1, "bbox": [2, 3, 20, 10]}, {"category_id": 3, "bbox": [30, 20, 10, 12]})
    found = [
        {"id": 10 * image["id"] + at, "image_id": image["id"], "area": 9, "iscrowd": 0, **box}
        for image in listed
        for at, box in enumerate(boxes)
    ]
    return {
        "images": listed,
        "annotations": found,
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def write_images(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)


def write(path: Path, what: Content | str, images: str | None = "images") -> Path:
    """The JSON, and its images in a folder beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    if images is not None and not isinstance(what, str):
        names = [one["file_name"] for one in what["images"] if isinstance(one, dict)]
        write_images(path.parent / images, [name for name in names if isinstance(name, str)])
    return path


def opened(path: Path, split: str = "train", **reading: Any) -> Source:
    return coco.open_splits(Place(path, "data", reading=Reading(**reading))).splits[split]


def samples(path: Path, **reading: Any) -> list[Sample]:
    return list(opened(path, **reading).samples())


def changed(tmp_path: Path, change: Callable[[Content], Any], images: int = 2) -> Source:
    """The data with one thing changed; its images are those of the unchanged data."""
    data = content(images)
    path = write(tmp_path / "data.json", data)
    change(data)
    path.write_text(json.dumps(data).replace('"DIGITS"', "9" * 5000))
    return opened(path)


def codes(issues: Iterable[Issue]) -> dict[str, int]:
    return dict(Counter(issue.code for issue in issues))


def all_issues(source: Source) -> list[Issue]:
    return [*source.issues(), *(issue for sample in source.samples() for issue in sample.issues)]


# -- what is read


def test_a_json_with_its_images(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "data.json", content()))
    first, second = source.samples()
    assert (first.file_name, first.image_id, first.declared_hw) == ("1.jpg", 1, (48, 64))
    assert first.image == tmp_path.resolve() / "images/1.jpg"
    assert [(one.id, one.category, one.bbox, one.where) for one in second.objects] == [
        (20, "cat", [2, 3, 20, 10], "annotation 20"),
        (21, "dog", [30, 20, 10, 12], "annotation 21"),
    ]
    assert source.categories() == [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    assert all_issues(source) == [] and len(source) == 2
    assert not source.xywh_px, "its boxes are judged, as many tools write others into it"


def test_further_values_are_kept(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        data["images"][0]["license"] = 4
        data["annotations"][0] |= {"attributes": {"occluded": True}, "score": 0.5}

    first = next(iter(changed(tmp_path, change).samples()))
    assert first.extra == {"license": 4}
    assert first.objects[0].extra == {"attributes": {"occluded": True}} and first.objects[0].score == 0.5


@pytest.mark.parametrize("folder", ["", "images", "data", "train2017", "../images", "../train2017"])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    name = "data.json" if "2017" not in folder else "instances_train2017.json"
    path = write(tmp_path / "annotations" / name, content(), folder)
    assert all(one.image is not None and Path(str(one.image)).is_file() for one in samples(path))


def test_the_folder_with_the_very_names_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", content(), "data")
    write_images(tmp_path / "images", ["1.png", "2.png"])
    assert {Path(str(one.image)).parent.name for one in samples(path)} == {"data"}


def test_images_that_are_not_beside_it_are_refused_in_one_sentence(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "data.json", content(), None))
    with pytest.raises(UserError, match=r"data.json: the files that it lists \('1.jpg', '2.jpg'.*`images`"):
        next(iter(source.samples()))


def test_a_folder_of_images_that_leads_out_is_taken_only_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "set" / "in" / "data.json", content(), "../../far")
    (path.parent / "images").symlink_to(tmp_path / "far")
    with pytest.raises(UserError, match="links that lead out are not followed"):
        samples(path)
    named = coco.open_splits(Place(path, "data", images=path.parent / "images")).splits["train"]
    assert all(one.image is not None for one in named.samples())


def test_a_data_set_behind_a_link(tmp_path: Path) -> None:
    write(tmp_path / "true" / "data.json", content())
    (tmp_path / "link").symlink_to(tmp_path / "true")
    assert all(one.image is not None for one in samples(tmp_path / "link" / "data.json"))
    assert all(one.image is not None for one in samples(tmp_path / "link"))


# -- folders and zips


def splits_of(path: Path) -> dict[str, list[str]]:
    found = open_place(Place(path, "data"))
    assert found[0].FORMAT == "coco"
    names = {}
    for split, source in found[1].splits.items():
        assert all_issues(source) == [], split
        assert all(one.image is not None for one in source.samples())
        names[split] = [one.file_name for one in source.samples()]
    return names


def layout_roboflow(folder: Path) -> set[str]:
    for split in ("train", "valid", "test"):
        write(folder / split / "_annotations.coco.json", content(), "")
    return {"train", "valid", "test"}


def layout_cvat(folder: Path) -> set[str]:
    write(folder / "annotations/instances_train.json", content(), "../images/train")
    write(folder / "annotations/instances_validation.json", content(1), "../images/validation")
    return {"train", "validation"}


def layout_cvat_without_subsets(folder: Path) -> set[str]:
    write(folder / "annotations/instances_default.json", content(), "../images")
    return {"train"}


def layout_coco(folder: Path) -> set[str]:
    write(folder / "annotations/instances_train2017.json", content(), "../train2017")
    write(folder / "annotations/instances_val2017.json", content(1), "../val2017")
    write(folder / "annotations/captions_train2017.json", {"images": [], "annotations": []}, None)
    return {"train", "val"}


def layout_flat(folder: Path) -> set[str]:
    write(folder / "labels.json", content(), "")
    return {"train"}


def layout_two_files(folder: Path) -> set[str]:
    write(folder / "train.json", content(), "images")
    write(folder / "val.json", content(1), "images")
    return {"train", "val"}


def layout_folders(folder: Path) -> set[str]:
    write(folder / "train/labels.json", content(), "images")
    write(folder / "val/labels.json", content(1), "images")
    write(folder / "val/captions_val.json", {"images": [], "annotations": []}, None)
    (folder / "facts.json").write_text("{}")
    return {"train", "val"}


LAYOUTS = [
    layout_folders,
    layout_roboflow,
    layout_cvat,
    layout_cvat_without_subsets,
    layout_coco,
    layout_flat,
    layout_two_files,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__.removeprefix("layout_"))
@pytest.mark.parametrize("form", ["folder", "zip", "zipped folder"])
def test_layouts(tmp_path: Path, layout: Callable[[Path], set[str]], form: str) -> None:
    expected = layout(tmp_path / "set")
    path = tmp_path / "set"
    if form != "folder":
        path = zipped(tmp_path / "set", "set/" if form == "zipped folder" else "")
    found = splits_of(path)
    assert set(found) == expected
    assert found["train"] == ["1.jpg", "2.jpg"]


def zipped(folder: Path, top: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{top}{file.relative_to(folder)}")
    return path


def test_images_of_a_zip_are_bytes(tmp_path: Path) -> None:
    layout_cvat(tmp_path / "set")
    source = opened(zipped(tmp_path / "set"))
    for sample in source.samples():
        assert sample.image == (tmp_path / "set/images/train" / sample.file_name).read_bytes()
        repaired = Repair()(sample).sample
        assert repaired is not None and len(repaired.objects) == 2


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        start = json.dumps(content())[:-1]
        archive.writestr("annotations/instances_default.json", f'{start}, "x": "{"0" * 60_000_000}"}}')
        archive.writestr("images/1.jpg", b"")
    with pytest.raises(UserError, match="zip"):
        samples(tmp_path / "bomb.zip")


def test_an_image_bomb_in_a_zip_is_one_bad_image(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(content()))
        archive.writestr("images/1.jpg", b"0" * 60_000_000)
        archive.writestr("images/2.jpg", b"no image")
    first, second = samples(tmp_path / "set.zip")
    assert first.image is None and codes(first.issues) == {"image-damaged": 1}
    assert second.image == b"no image"


def test_members_that_lead_out_of_a_zip_are_not_there(tmp_path: Path) -> None:
    data = content(1)
    data["images"].append({"id": 9, "file_name": "../../evil.jpg"})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(data))
        archive.writestr("images/1.jpg", b"x")
        archive.writestr("images/../../evil.jpg", b"x")
    _, evil = samples(tmp_path / "set.zip")
    assert evil.image is None and codes(evil.issues) == {"file-name": 1}


def test_a_folder_with_boxes_and_id_maps_is_read_as_boxes(tmp_path: Path) -> None:
    layout_coco(tmp_path)
    panoptic = {"annotations": [{"segments_info": []}], "images": [], "categories": []}
    write(tmp_path / "annotations/panoptic_train2017.json", panoptic, None)
    door = detect(tmp_path)
    assert door is coco
    assert codes(opened(tmp_path).issues()) == {"two-layouts": 1}


@pytest.mark.parametrize(
    "other",
    [
        {"version": "5.0", "shapes": [], "imagePath": "1.jpg", "imageData": None},  # labelme
        {"_via_settings": {}, "_via_img_metadata": {"1.jpg-1": {"regions": []}}},  # VIA
        [{"id": 1, "annotations": [], "data": {"image": "1.jpg"}}],  # Label Studio
        [{"image": "1.jpg", "annotations": [{"label": "cat"}]}],  # CreateML
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],  # results of COCO's own
        {"info": {}, "categories": {}, "items": []},  # datumaro
    ],
)
def test_other_json_is_left_to_other_doors(tmp_path: Path, other: Any) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(other))
    assert not coco.detect(path) and not coco_panoptic.detect(path)
    assert not coco.detect(tmp_path) and not coco_panoptic.detect(tmp_path)


def test_what_is_no_file_of_json_is_not_detected(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "c.json")
    for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "missing"):
        assert not coco.detect(path) and not coco_panoptic.detect(path)


def test_the_key_changes_with_the_data(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", content())
    keys = {opened(path).key, opened(path).key}
    assert len(keys) == 1
    write_images(tmp_path / "images", ["3.jpg"])
    keys.add(opened(path).key)
    path.write_text(path.read_text() + " ")
    keys.add(opened(path).key)
    keys.add(opened(path, painted_masks="crowd").key)
    assert len(keys) == 4


# -- files that cannot be used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no image"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "lists no categories"),
        ('{"images": [{"id": 1}], "annotations": {}, "categories": []}', "no list 'annotations'"),
        ('{"images": [{"id": 1}', "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_coco_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "data.json", text)
    with pytest.raises(UserError, match=message) as refusal:
        opened(path).categories()
    assert str(refusal.value).count("data.json") == 1


def test_another_encoding_is_named(tmp_path: Path) -> None:
    data = content()
    data["categories"][0]["name"] = "\u00e9t\u00e9"
    path = write(tmp_path / "data.json", data)
    path.write_bytes(json.dumps(data, ensure_ascii=False).encode("latin-1"))
    assert coco.detect(path)
    with pytest.raises(UserError, match=r"data.json is not UTF-8 \(.* at byte \d+\)"):
        samples(path)


def test_a_panoptic_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a panoptic file"):
        list(changed(tmp_path, lambda data: data["annotations"][0].update(segments_info=[])).samples())


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


# -- real data


def test_blood_cells() -> None:
    if not BCCD.is_dir():
        pytest.skip("the sample of BCCD is not there")
    door, found = open_place(Place(BCCD, "bccd"))
    assert door.FORMAT == "coco" and {split: len(source) for split, source in found.splits.items()} == {
        "train": 80,
        "test": 20,
    }
    repaired = [Repair(decode=False)(sample) for sample in found.splits["test"].samples()]
    assert not [one.issues for one in repaired if one.issues]
    assert sum(len(one.sample.objects) for one in repaired if one.sample) == 246
