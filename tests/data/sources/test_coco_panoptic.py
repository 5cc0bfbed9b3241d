"""COCO panoptic: segments of a JSON with their PNG files, and the folders that they are found in."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.issues import Issue
from detr_hf.data.repair import Repair
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sources import coco, coco_panoptic, open_place
from detr_hf.data.sources.base import Place, Source
from detr_hf.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT.parent / "shared" / "data" / "coco_panoptic_sample"

Content = dict[str, Any]
LEFT, RIGHT = 7, 260  # ids of the two segments


def content(images: int = 2) -> Content:
    segments = [
        {"id": LEFT, "category_id": 1, "bbox": [0, 0, 32, 48], "area": 1536, "iscrowd": 0},
        {"id": RIGHT, "category_id": 2, "bbox": [32, 0, 32, 48], "area": 1536, "iscrowd": 0},
    ]
    numbers = range(1, images + 1)
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in numbers],
        "annotations": [
            {"image_id": i, "file_name": f"{i}.png", "segments_info": [dict(one) for one in segments]}
            for i in numbers
        ],
        "categories": [
            {"id": 1, "name": "cat", "isthing": 1, "color": [9, 9, 9]},
            {"id": 2, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
        ],
    }


def write(path: Path, data: Content, images: str = "images", pngs: str = "panoptic") -> Path:
    id_map = np.full((48, 64), LEFT, np.int32)
    id_map[:, 32:] = RIGHT
    for folder in (images, pngs):
        (path.parent / folder).mkdir(parents=True, exist_ok=True)
    for one in data["images"]:
        Image.new("RGB", (64, 48)).save(path.parent / images / one["file_name"])
        (path.parent / pngs / one["file_name"].replace(".jpg", ".png")).write_bytes(png_bytes(id_map))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def opened(path: Path, split: str = "train", **folders: Path) -> Source:
    return coco_panoptic.open_splits(Place(path, "data", **folders)).splits[split]  # type: ignore[arg-type]


def changed(tmp_path: Path, change: Callable[[Content], Any], images: int = 2) -> Source:
    data = content(images)
    path = write(tmp_path / "data.json", data)
    change(data)
    path.write_text(json.dumps(data))
    return opened(path)


def codes(issues: Any) -> dict[str, int]:
    return dict(Counter(issue.code for issue in issues))


def all_issues(source: Source) -> list[Issue]:
    return [*source.issues(), *(issue for sample in source.samples() for issue in sample.issues)]


def test_segments_with_their_png(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "data.json", content()))
    first, _ = source.samples()
    assert source.is_panoptic and all_issues(source) == []
    assert [(one.id, one.category, one.bbox, one.area) for one in first.objects] == [
        (LEFT, "cat", [0, 0, 32, 48], 1536),
        (RIGHT, "sky", [32, 0, 32, 48], 1536),
    ]
    assert first.id_map == tmp_path.resolve() / "panoptic/1.png"
    repaired = Repair()(first)
    assert repaired.issues == [] and repaired.sample is not None and len(repaired.sample.objects) == 2


@pytest.mark.parametrize(
    ("name", "images", "pngs"),
    [
        ("panoptic.json", "images", "panoptic"),
        ("data.json", "images", "data"),
        ("data.json", "", ""),
        ("in/panoptic_train2017.json", "../train2017", "panoptic_train2017"),  # as the zips of COCO have it
        ("in/panoptic_train2017.json", "../train2017", "../panoptic_train2017"),  # as detectron2 wants it
        ("lime/annotations/lime.json", "../images", ""),
    ],
)
def test_folders(tmp_path: Path, name: str, images: str, pngs: str) -> None:
    path = write(tmp_path / name, content(), images, pngs)
    assert coco_panoptic.detect(path) and not coco.detect(path)
    found = list(opened(path).samples())
    assert all(Path(str(one.image)).is_file() and Path(str(one.id_map)).is_file() for one in found)


@pytest.mark.parametrize("listed", ["{}.png", "{}.jpg"])
@pytest.mark.parametrize("images", ["../images/train", "../train", "../images"])
def test_png_files_of_segments_are_no_images(tmp_path: Path, images: str, listed: str) -> None:
    """Images that are PNGs have the names of the PNGs of segments, which lie nearer to the JSON."""
    path = write(tmp_path / "annotations/panoptic_train.json", content(), images, "panoptic_train")
    for file in (path.parent / images).glob("*.jpg"):
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    path.write_text(re.sub(r"(\d)\.jpg", lambda found: listed.format(found[1]), path.read_text()))
    folder = (path.parent / images).resolve()
    for sample in open_place(Place(tmp_path, "data"))[1].splits["train"].samples():
        assert isinstance(sample.image, Path) and isinstance(sample.id_map, Path)
        assert sample.image.resolve().parent == folder and sample.id_map.parent.name == "panoptic_train"
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path))
    for number, sample in enumerate(open_place(Place(packed, "data"))[1].splits["train"].samples(), start=1):
        assert sample.image == (folder / f"{number}.png").read_bytes()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="Name their folder with `images`"):
        list(open_place(Place(tmp_path, "data"))[1].splits["train"].samples())


def test_splits_of_a_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        path = tmp_path / f"annotations/panoptic_{split}2017.json"
        write(path, content(), f"../{split}2017", f"panoptic_{split}2017")
    door, found = open_place(Place(tmp_path, "data"))
    assert door.FORMAT == "coco-panoptic" and set(found.splits) == {"train", "val"}
    for source in found.splits.values():
        assert all_issues(source) == [] and len(source) == 2


def test_folders_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "data.json", content(), "../far/a", "../far/b")
    with pytest.raises(UserError, match="Name their folder with `panoptic`"):
        list(opened(path).samples())
    with pytest.raises(UserError, match="Name their folder with `images`"):
        list(opened(path, panoptic=tmp_path / "far/b").samples())
    source = opened(path, images=tmp_path / "far/a", panoptic=tmp_path / "far/b")
    assert all_issues(source) == []


def test_the_key_changes_with_a_png(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", content())
    before = opened(path).key
    assert opened(path).key == before
    (tmp_path / "panoptic/1.png").write_bytes(b"new")
    assert opened(path).key != before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data["annotations"].pop(), "png-annotation"),
        (lambda data: data["annotations"].append(dict(data["annotations"][1])), "png-annotation"),
        (lambda data: data["annotations"][1].update(segments_info="none"), "png-annotation"),
        (lambda data: data["annotations"][1].update(file_name="gone.png"), "png-missing"),
        (lambda data: data["annotations"][1].update(file_name="../../x.png"), "file-name"),
        (lambda data: data["annotations"][1].update(file_name=None), "file-name"),
    ],
)
def test_an_image_without_its_png_is_dropped(tmp_path: Path, change: Any, code: str) -> None:
    first, second = changed(tmp_path, change).samples()
    assert first.issues == () and codes(second.issues) == {code: 1}
    assert second.issues[0].file == "2.jpg" and Repair()(second).sample is None


def test_a_png_under_another_name(tmp_path: Path) -> None:
    source = changed(tmp_path, lambda data: data["annotations"][0].update(file_name="masks\\1.jpg"), 1)
    (sample,) = source.samples()
    assert codes(sample.issues) == {"file-renamed": 1} and Repair()(sample).sample is not None


def test_odd_segments(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        first, second = data["annotations"][0]["segments_info"]
        first |= {"id": "7", "category_id": "1", "iscrowd": "0", "area": "1536"}
        second |= {"category_id": 99, "note": "kept"}
        data["annotations"][0]["segments_info"].append("text")

    (sample,) = changed(tmp_path, change, 1).samples()
    first, second = sample.objects
    assert (first.id, first.category, first.iscrowd, first.area) == (LEFT, "cat", False, 1536)
    assert second.category is None and second.extra == {"note": "kept"}
    assert codes(sample.issues) == {"odd-type": 4, "entry-invalid": 1}


@pytest.mark.parametrize("key", ["id", "category_id", "area", "bbox", "iscrowd"])
@pytest.mark.parametrize("value", [10**400, 1e400, "9" * 5000, None, [], {}, True])
def test_no_value_ends_it(tmp_path: Path, key: str, value: Any) -> None:
    source = changed(tmp_path, lambda data: data["annotations"][0]["segments_info"][0].update({key: value}))
    list(source.issues())
    for sample in source.samples():
        for issue in Repair()(sample).issues:
            assert len(str(issue)) < 1000


def test_categories_say_whether_they_are_things(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        data["categories"] = [
            {"id": 1, "name": "cat", "isthing": "1"},
            {"id": 2, "name": "sky", "isthing": 7, "color": "red"},
        ]

    source = changed(tmp_path, change)
    assert source.categories() == [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky"}]
    assert codes(source.issues()) == {
        "odd-type": 1,
        "category-invalid": 2,
        "isthing-missing": 1,
        "color-missing": 2,
    }


def test_a_file_of_boxes_is_refused(tmp_path: Path) -> None:
    def change(data: Content) -> None:
        for one in data["annotations"]:
            del one["segments_info"]

    with pytest.raises(UserError, match="not a panoptic file"):
        list(changed(tmp_path, change).samples())


def test_the_sample_of_coco() -> None:
    if not SAMPLE.is_dir():
        pytest.skip("the sample of COCO panoptic is not there")
    door, found = open_place(Place(SAMPLE, "coco"))
    source = found.splits["train"]
    listed = json.loads((SAMPLE / "panoptic.json").read_text())
    assert door.FORMAT == "coco-panoptic" and all_issues(source) == []
    assert source.categories() == listed["categories"]
    repaired = [Repair()(sample) for sample in source.samples()]
    assert not [one.issues for one in repaired if one.issues]
    for one, entry in zip(repaired, listed["annotations"], strict=True):
        assert one.sample is not None
        assert [(found.id, found.area) for found in one.sample.objects] == [
            (segment["id"], segment["area"]) for segment in entry["segments_info"]
        ]
