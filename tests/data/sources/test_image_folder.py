"""Folders of images with metadata files, as `datasets` documents them and as people write them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place
from detr_hf.errors import UserError
from detr_hf.images import decode_image
from detr_hf.labels import LabelMap
from detr_hf.recipe.prepare import Reading
from tests.data.sources.table_factories import BOXES, png

OBJECTS = {"bbox": BOXES, "categories": ["brick", "cone"]}
TWO = list(zip(["brick", "cone"], BOXES, strict=True))


def open_at(folder: Path, **more: Any) -> Opened:
    door, opened = open_place(Place(folder, str(folder), **more))
    assert door.FORMAT == "imagefolder"
    return opened


def plant(folder: Path, rows: list[Any], *images: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png())
    return folder


def samples_of(opened: Opened, split: str = "train") -> list[Sample]:
    found = list(opened.splits[split].samples())
    assert len(found) == len(opened.splits[split])
    assert [sample.image_id for sample in found] == list(range(1, len(found) + 1))
    assert len({sample.file_name for sample in found}) == len(found)
    return found


def codes(samples: list[Sample]) -> list[list[str]]:
    return [[issue.code for issue in sample.issues] for sample in samples]


def test_splits_in_folders(tmp_path: Path) -> None:
    rows = [{"file_name": "images/b.png", "objects": OBJECTS}, {"file_name": "a.png", "objects": OBJECTS}]
    plant(tmp_path / "set" / "train", rows, "images/b.png", "a.png")
    plant(tmp_path / "set" / "valid", [{"file_name": "a.png", "objects": {}}], "a.png")
    opened = open_at(tmp_path / "set")
    assert list(opened.splits) == ["train", "validation"]
    source = opened.splits["train"]
    assert not source.xywh_px and not source.images_apart
    assert source.categories() == [{"id": 1, "name": "brick"}, {"id": 2, "name": "cone"}]
    first, second = samples_of(opened)
    assert first.file_name == "train/images/b.png" and second.file_name == "train/a.png"
    assert first.image == tmp_path / "set" / "train" / "images" / "b.png" and not first.issues
    assert [(one.category, one.bbox) for one in first.objects] == TWO
    assert samples_of(opened, "validation")[0].objects == []


def test_one_metadata_file_for_all_splits(tmp_path: Path) -> None:
    names = ["train/a.png", "test/a.png", "train/b.png"]
    opened = open_at(plant(tmp_path / "set", [{"file_name": n, "objects": OBJECTS} for n in names], *names))
    assert {name: len(source) for name, source in opened.splits.items()} == {"train": 2, "test": 1}


def test_a_list_of_objects_is_read_like_lists(tmp_path: Path) -> None:
    objects = [{"bbox": BOXES[0], "label": "brick", "iscrowd": "0", "area": 9}]
    rows = [{"file_name": "a.png", "width": 40, "height": 30, "objects": objects}]
    (sample,) = samples_of(open_at(plant(tmp_path / "set", rows, "a.png")))
    (found,) = sample.objects
    assert (found.bbox, found.category, found.area, found.iscrowd) == (BOXES[0], "brick", 9, False)
    assert sample.declared_hw == (30, 40) and codes([sample]) == [["odd-type"]]


CSV = {
    "JSON in cells": [["file_name", "objects"], ["a.png", json.dumps(OBJECTS)]],
    "as pandas prints lists": [["file_name", "bbox", "category"], ["a.png", str(BOXES), "['brick', 'cone']"]],
    "a row an object": [["file_name", "bbox", "label"], *(["a.png", str(box), name] for name, box in TWO)],
}


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("kind", CSV)
def test_csv_as_people_write_it(tmp_path: Path, kind: str, delimiter: str) -> None:
    folder = plant(tmp_path / "set", [], "a.png")
    (folder / "metadata.jsonl").unlink()
    with (folder / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(CSV[kind])
    (sample,) = samples_of(open_at(folder))
    assert [(one.category, one.bbox) for one in sample.objects] == TWO
    assert [one.id for one in sample.objects] == [1, 2] and not sample.issues


def test_metadata_as_parquet(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", [], "a.png")
    (folder / "metadata.jsonl").unlink()
    pq.write_table(pa.table({"file_name": ["a.png"], "objects": [OBJECTS]}), folder / "metadata.parquet")
    (sample,) = samples_of(open_at(folder))
    assert [one.bbox for one in sample.objects] == BOXES


def test_numbers_without_names_are_one_error_and_a_label_map_names_them(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "objects": {"bbox": BOXES, "categories": [2, 9]}}]
    folder = plant(tmp_path / "set", rows, "a.png")
    with pytest.raises(UserError, match="numbers without names"):
        open_at(folder)
    LabelMap.from_names(["cone", "brick"]).save(folder)
    opened = open_at(folder)
    (sample,) = samples_of(opened)
    assert [(one.category, one.category_id) for one in sample.objects] == [("brick", 2), (None, 9)]
    assert [entry["name"] for entry in opened.splits["train"].categories()] == ["cone", "brick"]


def test_every_mess_is_an_issue(tmp_path: Path) -> None:
    rows = [
        {"file_name": "a.png", "objects": OBJECTS},
        '{"file_name": "b.png", ',
        "[1]",
        {"objects": OBJECTS},
        {"file_name": "../../secret.png", "objects": OBJECTS},
        {"file_name": "gone.png", "objects": OBJECTS},
        {"file_name": "A.PNG", "objects": {"bbox": BOXES, "categories": ["brick"]}},
        {"file_name": "c.png", "objects": 5},
        {"file_name": "d.png", "objects": {"bbox": [["x", None]], "categories": [None]}},
        {"file_name": "\ud800.png", "objects": OBJECTS},
    ]
    folder = plant(tmp_path / "set", rows, "a.png", "b.png", "c.png", "d.png")
    opened = open_at(folder)
    issues = [(issue.code, issue.text) for issue in opened.splits["train"].issues()]
    assert [code for code, _ in issues] == ["entry-invalid", "entry-invalid"]
    assert issues[0][1].startswith("metadata.jsonl, line 2: it is not valid JSON")
    found = {sample.file_name: [issue.code for issue in sample.issues] for sample in samples_of(opened)}
    assert found == {
        "a.png": ["annotation-unreadable", "image-twice"],
        "metadata.jsonl, line 4": ["file-name"],
        "metadata.jsonl, line 5": ["file-name"],
        "gone.png": ["image-missing"],
        "c.png": ["annotation-unreadable"],
        "d.png": [],
        "metadata.jsonl, line 10": ["file-name"],
        "b.png": ["unlisted"],
    }


def test_images_that_are_not_listed_can_be_kept(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", [{"file_name": "b.png", "objects": OBJECTS}], "a.png", "b.png")
    assert codes(samples_of(open_at(folder))) == [[], ["unlisted"]]
    assert codes(samples_of(open_at(folder, reading=Reading(unlisted_images="keep")))) == [
        [],
        ["unlisted-kept"],
    ]


def test_an_image_in_two_metadata_files_is_read_once(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set" / "train", [{"file_name": "a.png", "objects": OBJECTS}], "a.png")
    plant(folder.parent, [{"file_name": "train/a.png", "objects": OBJECTS}])
    opened = open_at(folder.parent)
    (sample,) = samples_of(opened)
    assert len(sample.objects) == 2
    (issue,) = opened.splits["train"].issues()
    assert "'train/a.png' is in another metadata file" in issue.text


def test_a_folder_without_objects_says_what_it_has(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "text": "a brick"}]
    with pytest.raises(UserError, match=r"no column holds 'category' or 'bbox' .* columns: file_name, text"):
        open_at(plant(tmp_path / "set", rows, "a.png"))
    with pytest.raises(UserError, match=r"lists an image: .*line 1: it is not valid JSON"):
        open_at(plant(tmp_path / "broken", ["{"], "a.png"))


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    outside = plant(tmp_path / "outside", [{"file_name": "a.png", "objects": OBJECTS}], "a.png")
    folder = plant(tmp_path / "set", [{"file_name": "b.png", "objects": OBJECTS}])
    (folder / "b.png").symlink_to(outside / "a.png")
    (folder / "test").mkdir()
    (folder / "test" / "metadata.jsonl").symlink_to(outside / "metadata.jsonl")
    os.mkfifo(folder / "test" / "metadata.csv")
    opened = open_at(folder)
    (sample,) = samples_of(opened)
    assert sample.image is None
    issues = list(opened.splits["train"].issues())
    assert sorted(issue.file for issue in issues) == ["test/metadata.csv", "test/metadata.jsonl"]


def test_the_key_follows_the_files(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", [{"file_name": "a.png", "objects": OBJECTS}], "a.png")
    before = open_at(folder).splits["train"].key
    assert open_at(folder).splits["train"].key == before
    (folder / "a.png").write_bytes(png((50, 50)))
    assert open_at(folder).splits["train"].key != before


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("layout", ["dict of lists", "list of dicts"])
def test_what_datasets_reads_is_read_as_the_same(tmp_path: Path, kind: str, layout: str) -> None:
    """Splits, images, boxes to the last digit, and classes, as `load_dataset("imagefolder")` has them."""
    boxes = {
        "a.png": [[2.25, 3.5, 12.5, 9.75], [0, 0, 8.125, 8]],
        "sub/b c.png": [[1, 2, 3, 4.1]],
        "d.png": [],
    }
    for split, names in {"train": ("a.png", "sub/b c.png"), "valid": ("d.png", "sub/b c.png")}.items():
        rows: list[dict[str, Any]] = []
        for value, name in enumerate(names):
            classes = ["cone", "brick"][: len(boxes[name])]
            objects: Any = {"bbox": boxes[name], "category": classes}
            if layout == "list of dicts":
                pairs = zip(boxes[name], classes, strict=True)
                objects = [{"bbox": box, "category": one} for box, one in pairs]
            rows.append({"file_name": name, "objects": objects})
            (tmp_path / "set" / split / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / split / name).write_bytes(png(value=90 + value + 50 * (split == "valid")))
        plant(tmp_path / "set" / split, rows)
        if kind == "parquet":
            (tmp_path / "set" / split / "metadata.jsonl").unlink()
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / split / "metadata.parquet")
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache")
    )
    ours = open_at(tmp_path / "set").splits
    assert list(ours) == list(theirs)
    for split, source in ours.items():
        for sample, row in zip(source.samples(), theirs[split], strict=True):
            assert isinstance(sample.image, Path) and sample.issues == ()
            np.testing.assert_array_equal(decode_image(sample.image), np.array(row["image"]))
            objects = row["objects"]
            if isinstance(objects, list):
                objects = {key: [one[key] for one in objects] for key in ("bbox", "category")}
            assert [found.bbox for found in sample.objects] == objects["bbox"]
            assert [found.category for found in sample.objects] == objects["category"]
