"""Saved data sets and Parquet files as the data of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle, dataset_features
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data, Split
from tests.data.sources.table_factories import BOXES, CLASS_LABELS, LAYOUTS, NAMES, NUMBERS, cell, save
from tests.factories import STUFF, THINGS
from tests.stream_factories import write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def bundle_of(folder: Path, **more: Any) -> DataBundle:
    return build_bundle(Data(dataset=str(folder), **more), folder.parent / "run")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_give_the_same_rows(tmp_path: Path, layout: str) -> None:
    features, row = LAYOUTS[layout]
    image = next(name for name, kind in features.items() if isinstance(kind, datasets.Image))
    bundle = bundle_of(save(tmp_path / "saved", features, [row | {image: cell()}]), overfit=1)
    found = bundle.dataset["train"][0]
    assert found["objects"]["bbox"] == BOXES and found["objects"]["area"] == [120, 64]
    assert [bundle.labels.id2label[label] for label in found["objects"]["category"]] == ["brick", "cone"]
    assert (found["width"], found["height"], found["file_name"]) == (40, 30, "row-0.png")
    assert np.asarray(found["image"])[0, 0].tolist() == [90, 10, 10]
    assert bundle.dataset["train"].features == dataset_features(bundle.labels.names, is_panoptic=False)


def test_a_panoptic_set_comes_back_the_same_and_is_self_contained(tmp_path: Path) -> None:
    first = bundle_of(write_parquet(tmp_path / "set", shards=(3, 2), stuff=True))
    assert first.is_panoptic and first.labels.names == (*THINGS, *STUFF)
    kept = {name: split.to_list() for name, split in first.dataset.items()}
    first.save(tmp_path / "saved")
    for file in (tmp_path / "set").iterdir():
        file.unlink()
    again = build_bundle(Data(train=Split(path=str(tmp_path / "saved"))), tmp_path / "run")
    assert again.is_panoptic and again.labels == first.labels
    assert again.dataset["train"].features == first.dataset["train"].features
    assert {name: split.to_list() for name, split in again.dataset.items()} == kept


def test_numbers_are_named_by_the_label_map_of_the_recipe(tmp_path: Path) -> None:
    features = {"image": datasets.Image(), "objects": NUMBERS}
    row = {"image": cell(), "objects": {"bbox": BOXES, "category": [2, 1]}}
    folder = save(tmp_path / "saved", features, [row])
    LabelMap.from_names(NAMES).save(tmp_path / "labels")  # source ids 1 and 2
    bundle = bundle_of(folder, overfit=1, labels=str(tmp_path / "labels" / "label_map.json"))
    assert bundle.dataset["train"][0]["objects"]["category"] == [1, 0]


def test_a_set_without_validation_split_holds_out_and_a_named_split_must_be_there(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}] * 10)
    bundle = bundle_of(folder, validation_fraction=0.3)
    assert len(bundle.dataset["train"]) == 7 and len(bundle.dataset["validation"]) == 3
    assert any("3 of 10 images" in note for note in bundle.notes)
    for key in ("train_split", "validation_split"):
        with pytest.raises(UserError, match="there is no split 'other'; it has train"):
            bundle_of(folder, **{key: "other"})


def test_rows_that_cannot_be_read_stop_a_run(tmp_path: Path) -> None:
    uneven = {"image": cell(), "objects": {"bbox": BOXES, "category": [1]}}
    folder = save(tmp_path / "saved", CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}, uneven])
    with pytest.raises(
        UserError, match=r"rows of the saved data set cannot be read \(1\)(.|\n)*differ in length"
    ):
        bundle_of(folder, overfit=1)


def test_corner_boxes_stop_a_run(tmp_path: Path) -> None:
    corners = [[5.0, 6.0, 39.0, 28.0], [24.0, 10.0, 36.0, 25.0]]
    row = {"image": cell(), "objects": {"bbox": corners, "category": [0, 1]}}
    with pytest.raises(UserError, match=r"these are corners \(x0, y0, x1, y1\) in pixels"):
        bundle_of(save(tmp_path / "saved", CLASS_LABELS[0], [row] * 12), overfit=1)
