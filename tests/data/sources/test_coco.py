"""COCO detection: the JSON as many tools write it, and the folders and zips that it comes in."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.repair import Repair
from detr_hf.data.sources import coco, coco_panoptic, detect, open_place
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from tests.data.sources.coco_files import (
    Content,
    all_issues,
    changed,
    codes,
    content,
    opened,
    samples,
    write,
    write_images,
)

ROOT = Path(__file__).resolve().parents[3]


BCCD = ROOT.parent / "shared" / "data" / "bccd"


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
