"""The truth for the metrics, in original pixels, and the guard against labels outside the label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth, check_labels
from detr_hf.recipe import Data
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")


def bundle_of(tmp_path: Path, panoptic: bool, **data: str) -> DataBundle:
    write = write_coco_panoptic if panoptic else write_coco_detection
    return build_bundle(Data(train=write(tmp_path / "a", crowd=True), overfit=4, **data), tmp_path / "run")


def test_detection_truth_is_the_row_as_corners(tmp_path: Path) -> None:
    split = bundle_of(tmp_path, panoptic=False).dataset["train"]
    truth = GroundTruth(split)
    for row in split:
        found, objects = truth.detection(row["image_id"]), row["objects"]
        boxes = found["boxes_xyxy_px"]
        assert boxes.shape == (len(objects["id"]), 4) and boxes.dtype == np.float64
        assert np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist() == objects["bbox"]
        assert found["labels"].tolist() == objects["category"] and found["areas"].tolist() == objects["area"]
        assert found["iscrowd"].dtype == bool and found["iscrowd"].tolist() == objects["iscrowd"]


def test_panoptic_truth_keeps_crowds_and_voids_what_is_no_class(tmp_path: Path) -> None:
    full = bundle_of(tmp_path, panoptic=True)
    names = [name for name in full.labels.names if name != "ground"]
    things, stuff = [n for n in names if n != "sky"], ["sky"]
    LabelMap(LabelMap.from_names(things, stuff).categories, void=("ground",)).save(tmp_path)
    without = bundle_of(tmp_path, panoptic=True, labels=str(tmp_path / "label_map.json"))
    crowds = 0
    for row in full.dataset["train"]:
        all_of, found = (GroundTruth(b.dataset["train"]).panoptic(row["image_id"]) for b in (full, without))
        ground = [s["id"] for s in all_of["segments"] if s["category_id"] == full.labels.label2id["ground"]]
        assert np.isin(all_of["id_map"], ground).any()
        assert np.array_equal(
            found["id_map"], np.where(np.isin(all_of["id_map"], ground), 0, all_of["id_map"])
        )
        assert found["id_map"].dtype == np.int32
        assert {s["id"] for s in found["segments"]} == set(np.unique(found["id_map"]).tolist()) - {0}
        crowds += sum(segment["iscrowd"] for segment in found["segments"])
    assert crowds > 0


def test_labels_outside_the_map_stop_before_the_first_step(tmp_path: Path) -> None:
    """guards: a label equal to the number of classes is trained as "no object" without a word."""
    bundle = bundle_of(tmp_path, panoptic=False)
    split = bundle.dataset["train"]
    check_labels(split, bundle.labels.num_classes)
    top = max(label for objects in split["objects"] for label in objects["category"])
    named = next(row for row in split if top in row["objects"]["category"])
    with pytest.raises(
        UserError, match=f"image {named['image_id']} '{named['file_name']}' has an object of class {top}"
    ):
        check_labels(split, top)


def test_sets_without_objects_pass(tmp_path: Path) -> None:
    split = bundle_of(tmp_path, panoptic=False).dataset["train"].select([0])
    assert split[0]["objects"]["id"] == []
    check_labels(split, 1)
