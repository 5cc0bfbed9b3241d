"""Saved data sets in: our own, and the column layouts that others use."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, List, Value

from detr_hf.data.boxes import CORNERS, judge_format
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place, Source
from detr_hf.data.sources.table import TableSource
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data.sources.table_factories import (
    BOXES,
    CLASS_LABELS,
    LAYOUTS,
    NAMES,
    NUMBERS,
    cell,
    png,
    save,
    table,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def open_at(folder: Path, **more: Any) -> Opened:
    door, opened = open_place(Place(folder, str(folder), **more))
    assert door.FORMAT == "hf"
    return opened


def samples_of(source: Source) -> list[Sample]:
    found = list(source.samples())
    assert len(found) == len(source) and pickle.loads(pickle.dumps(found)) == found
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_give_the_same_sample(tmp_path: Path, layout: str) -> None:
    features, row = LAYOUTS[layout]
    image = next(name for name, kind in features.items() if isinstance(kind, datasets.Image))
    source = open_at(save(tmp_path / "saved", features, [row | {image: cell()}])).splits["train"]
    assert not source.xywh_px and source.images_apart and not source.is_panoptic
    assert sorted(entry["name"] for entry in source.categories()) == sorted(NAMES)
    (sample,) = samples_of(source)
    assert sample.image == png() and sample.file_name == "row-0.png"
    assert [one.bbox for one in sample.objects] == BOXES
    assert [one.category for one in sample.objects] == ["brick", "cone"]
    assert sample.image_id == (5 if "image_id" in row else 0)
    assert sample.declared_hw == ((30, 40) if "width" in row else None)
    assert [issue.code for issue in sample.issues] == (["text-ids"] if "id" in row else [])
    repaired = Repair()(sample).sample
    assert repaired is not None and [one.area for one in repaired.objects] == [120, 64]
    assert isinstance(source, TableSource)
    images = source.images_table()
    assert images.column_names == ["image"] and np.asarray(images[0]["image"])[0, 0].tolist() == [90, 10, 10]


def test_a_panoptic_table_has_id_maps_and_what_its_label_map_says(tmp_path: Path) -> None:
    segments = List({"id": Value("int64"), "category_id": ClassLabel(names=["cone", "sky"])})
    features = {"image": datasets.Image(), "label": datasets.Image(), "segments_info": segments}
    rows = [{"image": cell(), "label": cell(), "segments_info": [{"id": 90, "category_id": 1}]}]
    LabelMap.from_names(["cone"], ["sky"]).save(save(tmp_path / "saved", features, rows))
    opened = open_at(tmp_path / "saved")
    source = opened.splits["train"]
    assert source.is_panoptic and opened.labels is not None
    assert [entry["isthing"] for entry in source.categories()] == [1, 0]
    (sample,) = samples_of(source)
    assert sample.id_map == png() and (sample.objects[0].id, sample.objects[0].category) == (90, "sky")
    assert isinstance(source, TableSource) and source.images_table().column_names == ["image", "panoptic"]


def test_numbers_without_names_are_one_error_and_a_label_map_names_them(tmp_path: Path) -> None:
    features = {"image": datasets.Image(), "objects": NUMBERS}
    row = {"image": cell(), "objects": {"bbox": BOXES, "category": [2, 3]}}
    folder = save(tmp_path / "saved", features, [row])
    with pytest.raises(UserError, match="numbers without names"):
        open_at(folder)
    labels = LabelMap.from_names(NAMES)  # source ids 1 and 2
    (given,) = samples_of(open_at(folder, labels=labels).splits["train"])
    assert [(one.category, one.category_id) for one in given.objects] == [("brick", 2), (None, 3)]
    labels.save(folder)
    (beside,) = samples_of(open_at(folder).splits["train"])
    assert beside == given


def test_corner_boxes_are_seen_by_all_boxes_together(tmp_path: Path) -> None:
    features = CLASS_LABELS[0] | {
        "objects": {**CLASS_LABELS[0]["objects"], "area": List(Value("float32"))},
    }
    corners = [[5.0, 6.0, 25.0, 24.0], [24.0, 10.0, 36.0, 25.0]]
    row = {"image": cell(), "objects": {"bbox": corners, "area": [360.0, 180.0], "category": [0, 1]}}
    source = open_at(save(tmp_path / "saved", features, [row] * 12)).splits["train"]
    assert judge_format(source.samples()).name == CORNERS


@pytest.mark.parametrize("path", ["/etc/hostname", "images/a.png", "https://example.org/a.png", "../a.png"])
def test_a_row_may_not_point_outside_the_data_set(tmp_path: Path, path: str) -> None:
    features, row = CLASS_LABELS
    made = table(features, [row | {"image": {"bytes": None, "path": path}}])
    (sample,) = TableSource(made, "x", (tmp_path,), None).samples()
    assert sample.image is None and sample.issues[0].code == "row"
    assert f"row 0: its image is kept as the path '{path}', outside the data set" in sample.issues[0].text
    assert Repair()(sample).sample is None


def test_an_image_kept_as_a_path_inside_the_data_set_is_read(tmp_path: Path) -> None:
    features, row = CLASS_LABELS
    (tmp_path / "a.png").write_bytes(png())
    made = table(features, [row | {"image": {"bytes": None, "path": str(tmp_path / "a.png")}}])
    (sample,) = TableSource(made, "x", (tmp_path.resolve(),), None).samples()
    assert sample.image == tmp_path / "a.png" and sample.file_name == "a.png" and not sample.issues


def test_bad_rows_are_issues_and_the_others_are_read(tmp_path: Path) -> None:
    features, row = CLASS_LABELS
    uneven = {"image": cell(), "objects": {"bbox": BOXES, "category": [1]}}
    rows = [row | {"image": cell()}, uneven, row | {"image": None}, row | {"image": cell()}]
    found = samples_of(open_at(save(tmp_path / "saved", features, rows)).splits["train"])
    assert [[issue.code for issue in sample.issues] for sample in found] == [[], ["row"], ["row"], []]
    assert "differ in length" in found[1].issues[0].text and "holds no image" in found[2].issues[0].text


def test_names_are_kept_inside_and_apart_and_ids_must_differ(tmp_path: Path) -> None:
    features = CLASS_LABELS[0] | {"file_name": Value("string"), "image_id": Value("int64")}
    names = ["a/b.jpg", "a/b.jpg", "../../b.jpg", None]
    rows = [
        CLASS_LABELS[1] | {"image": cell(), "file_name": name, "image_id": number}
        for number, name in zip([7, 8, 7, 9], names, strict=True)
    ]
    found = samples_of(open_at(save(tmp_path / "saved", features, rows)).splits["train"])
    assert [sample.file_name for sample in found] == ["a/b.jpg", "a/b-2.jpg", "row-2.png", "row-3.png"]
    assert [[issue.code for issue in sample.issues] for sample in found] == [[], [], ["image-id"], []]
    assert found[2].issues[0].text == "image id 7 is in row 0 and in row 2"


def test_columns_that_hold_no_objects_are_named_and_such_a_split_is_left_out(tmp_path: Path) -> None:
    no_boxes = {"image": datasets.Image(), "objects": {"category": List(ClassLabel(names=NAMES))}}
    bare = table(no_boxes, [{"image": cell(), "objects": {"category": [1]}}])
    datasets.DatasetDict({"extra": bare}).save_to_disk(tmp_path / "bare")
    with pytest.raises(UserError, match="no column holds 'bbox'"):
        open_at(tmp_path / "bare")
    good = table(CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}])
    datasets.DatasetDict({"extra": bare, "train": good, "test": good}).save_to_disk(tmp_path / "saved")
    splits = open_at(tmp_path / "saved").splits
    assert list(splits) == ["train", "test"] and not list(splits["test"].issues())
    (issue,) = splits["train"].issues()
    assert issue.code == "not-read" and "split 'extra'" in issue.text


def test_another_split_does_not_take_the_place_of_training(tmp_path: Path) -> None:
    no_boxes = {"image": datasets.Image(), "objects": {"category": List(ClassLabel(names=NAMES))}}
    bare = table(no_boxes, [{"image": cell(), "objects": {"category": [1]}}])
    good = table(CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}])
    datasets.DatasetDict({"train": bare, "validation": good}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="split 'train': no column holds 'bbox'"):
        open_at(tmp_path / "saved")


def test_a_dataset_alone_is_train_and_its_key_follows_its_content(tmp_path: Path) -> None:
    keys = set()
    for count in (1, 2):
        rows = [CLASS_LABELS[1] | {"image": cell()}] * count
        table(CLASS_LABELS[0], rows).save_to_disk(tmp_path / "saved")
        source = open_at(tmp_path / "saved").splits["train"]
        assert len(source) == count
        keys |= {source.key, open_at(tmp_path / "saved").splits["train"].key}
    assert len(keys) == 2


def test_tables_outside_the_folder_are_not_opened(tmp_path: Path) -> None:
    rows = [CLASS_LABELS[1] | {"image": cell()}]
    table(CLASS_LABELS[0], rows).save_to_disk(tmp_path / "other")
    table(CLASS_LABELS[0], rows).save_to_disk(tmp_path / "saved")
    state = tmp_path / "saved" / "state.json"
    content = json.loads(state.read_text())
    content["_data_files"] = [{"filename": f"../other/{content['_data_files'][0]['filename']}"}]
    state.write_text(json.dumps(content))
    with pytest.raises(UserError, match="leaves the folder"):
        open_at(tmp_path / "saved")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"splits": 3}', b'{"splits": ["nowhere"]}'])
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, damage: bytes) -> None:
    folder = save(tmp_path / "saved", CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}])
    (folder / "dataset_dict.json").write_bytes(damage)
    with pytest.raises(UserError, match="not a folder written by"):
        open_at(folder)


def test_only_the_hub_has_revisions(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}])
    with pytest.raises(UserError, match="leave the revision out"):
        open_at(folder, revision="main")
