"""COCO files of repaired samples: complete, read by others, the same every time, whole or not there."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycocotools.coco import COCO

from detr_hf.data.issues import Issue
from detr_hf.data.repair_objects import decoded_mask
from detr_hf.data.sample import Sample
from detr_hf.data.sinks import open_sink, sinks
from detr_hf.errors import UserError
from detr_hf.images import decode_id_map
from detr_hf.labels import LabelMap
from tests.data.sinks.sink_factories import (
    CATEGORIES,
    SIZE_HW,
    TRIANGLE,
    boxes_sample,
    outlines_sample,
    panoptic_sample,
)


def written(out: Path, samples: dict[str, list[Sample]], **options: Any) -> Path:
    with open_sink("coco")(out, samples, CATEGORIES, **options) as sink:
        for split, found in samples.items():
            for sample in found:
                sink.add(split, sample)
    return out


def content_of(out: Path, split: str = "train") -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / split / "annotations.json").read_bytes())
    return values


def test_every_sink_is_found() -> None:
    assert {"coco", "hf", "yolo"} <= set(sinks())
    assert all(sink.TITLE for sink in sinks().values())


def test_entries_hold_all_that_is_known(tmp_path: Path) -> None:
    samples = {"train": [boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "in")]}
    content = content_of(written(tmp_path / "out", samples))
    assert content["categories"] == CATEGORIES
    first = {"id": 10, "file_name": "a/0.png", "width": 64, "height": 48, "license": 4}
    assert content["images"][0] == first
    assert [one["id"] for one in content["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert content["annotations"][0] == {
        **{"id": 1, "image_id": 10, "category_id": 3, "bbox": [5.25, 6.0, 20.5, 18.0], "area": 369.0},
        **{"iscrowd": 0, "segmentation": []},
    }
    triangle, corner, scored, crowd = content["annotations"][2:]
    assert triangle["segmentation"] == [TRIANGLE] and triangle["tag"] == "x"
    assert corner["segmentation"]["size"] == [48, 64] and corner["category_id"] == 7
    assert scored["score"] == 0.5 and "score" not in crowd and crowd["iscrowd"] == 1


def test_pycocotools_reads_it(tmp_path: Path) -> None:
    out = written(tmp_path / "out", {"train": [outlines_sample(tmp_path / "in")]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(out / "train" / "annotations.json"))
    areas = [int(coco.annToMask(one).sum()) for one in coco.loadAnns(coco.getAnnIds([11]))[:2]]
    assert areas[1] == 104 and 150 < areas[0] < 210


def test_images_stay_where_they_are(tmp_path: Path) -> None:
    samples = {"train": [boxes_sample(tmp_path / "in")], "valid": [outlines_sample(tmp_path / "in")]}
    out = written(tmp_path / "out", samples)
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        *("annotations.json", "annotations.json", "changes.json", "data.yaml"),
    ]
    data = yaml.safe_load((out / "data.yaml").read_text())["data"]
    assert data == {
        role: {
            "annotations": (out / split / "annotations.json").as_posix(),
            "images": (tmp_path / "in").as_posix(),
        }
        for role, split in (("train", "train"), ("validation", "valid"))
    }


def test_images_can_be_copied(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    out = written(tmp_path / "out", {"test": [sample], "train": [sample]}, copy_images=True)
    assert (out / "train" / "images" / "a" / "0.png").read_bytes() == (tmp_path / "in/a/0.png").read_bytes()
    entries = {
        split: {
            "annotations": (out / split / "annotations.json").as_posix(),
            "images": (out / split / "images").as_posix(),
        }
        for split in ("train", "test")
    }
    assert yaml.safe_load((out / "data.yaml").read_text()) == {
        "data": {"train": entries["train"]},
        "other_splits": {"test": entries["test"]},  # a recipe has no name for it
    }


@pytest.mark.parametrize("name", ["row 7", "../../up", "/etc/x.png", "a\\..\\..\\b.png"])
def test_an_image_that_is_no_file_is_written_below_the_folder(tmp_path: Path, name: str) -> None:
    sample = boxes_sample(tmp_path / "in")
    assert isinstance(sample.image, Path)
    content = sample.image.read_bytes()
    out = written(tmp_path / "out", {"train": [replace(sample, image=content, file_name=name)]})
    (image,) = (out / "train" / "images").rglob("*.png")
    assert image.read_bytes() == content
    assert content_of(out)["images"][0]["file_name"] == image.relative_to(out / "train" / "images").as_posix()
    assert json.loads((out / "changes.json").read_bytes())["counts"] == {"file-written-as": 1}


def test_images_of_one_name_stay_two(tmp_path: Path) -> None:
    samples = [boxes_sample(tmp_path / "in"), replace(boxes_sample(tmp_path / "b"), image_id=11)]
    content = content_of(written(tmp_path / "out", {"train": samples}, copy_images=True))
    assert [one["file_name"] for one in content["images"]] == ["a/0.png", "a/0_1.png"]


def test_images_in_several_places_are_refused_with_the_way_out(tmp_path: Path) -> None:
    samples = [boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "elsewhere")]
    with pytest.raises(UserError, match="--copy-images"):
        written(tmp_path / "out", {"train": samples})
    assert not (tmp_path / "out").exists()
    written(tmp_path / "out", {"train": samples}, copy_images=True)


def test_an_id_map_becomes_masks(tmp_path: Path) -> None:
    sample = panoptic_sample(tmp_path / "in")
    content = content_of(written(tmp_path / "out", {"train": [sample]}))
    assert isinstance(sample.id_map, bytes)
    id_map = decode_id_map(sample.id_map)
    for found, one in zip(content["annotations"], sample.objects, strict=True):
        mask = decoded_mask(found["segmentation"], SIZE_HW)
        assert mask is not None and (mask == (id_map == one.id)).all()
    assert content["annotations"][1]["pseudo"] is True


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    samples = {"train": [boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "in")]}
    files = [
        (written(tmp_path / name / "out", samples) / "train" / "annotations.json").read_bytes()
        for name in ("one", "two")
    ]
    assert files[0] == files[1]


def test_a_fault_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = replace(boxes_sample(tmp_path / "in"), image=tmp_path / "missing.png")
    with pytest.raises(UserError, match="there is no such image file"):
        written(tmp_path / "out", {"train": [boxes_sample(tmp_path / "in"), bad]}, copy_images=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_changes_are_counted_and_listed_by_file(tmp_path: Path) -> None:
    with open_sink("coco")(tmp_path / "out", ["train"], CATEGORIES) as sink:
        sink.note(
            "train", [Issue("box-clipped", "annotation 1", "a.png"), Issue("box-clipped", "2", "a.png")]
        )
        sink.note("train", [Issue("image-missing", "there is none", "b.png")])
        sink.add("train", boxes_sample(tmp_path / "in"))
    changes = json.loads((tmp_path / "out" / "changes.json").read_bytes())
    assert changes["counts"] == {"box-clipped": 2, "image-missing": 1}
    assert changes["changes"][2] == {
        **{"split": "train", "file": "b.png", "kind": "image-missing", "text": "there is none"},
    }
    assert sink.report.count("box-clipped") == 2


def test_objects_of_a_class_that_is_not_listed_are_told(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    with open_sink("coco")(tmp_path / "out", ["train"], CATEGORIES[:1]) as sink:
        sink.add("train", sample)
    assert len(content_of(tmp_path / "out")["annotations"]) == 1
    assert sink.report.count("category-unknown") == 1
    assert sink.counts["train"] == {"images": 1, "objects": 1}


def test_foreign_values_are_written_as_json(tmp_path: Path) -> None:
    extra = {"ratio": float("nan"), "tags": ("a", {"deep": Path("x")}), "bbox": "not ours"}
    sample = boxes_sample(tmp_path / "in")
    sample = replace(sample, objects=[replace(sample.objects[0], extra=extra)])
    found = content_of(written(tmp_path / "out", {"train": [sample]}))["annotations"][0]
    assert found["ratio"] is None and found["tags"] == ["a", {"deep": "x"}]
    assert found["bbox"] == [5.25, 6.0, 20.5, 18.0]


def test_a_label_map_is_passed_on(tmp_path: Path) -> None:
    labels = LabelMap.from_coco(CATEGORIES, void=["sky"])
    out = written(tmp_path / "out", {"train": [boxes_sample(tmp_path / "in")]}, labels=labels)
    assert LabelMap.load(out).void == ("sky",)
    assert (
        yaml.safe_load((out / "data.yaml").read_text())["data"]["labels"]
        == f"{out.as_posix()}/label_map.json"
    )
