"""COCO's files, read by COCO's own code."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_hf.geometry import rgb_to_id
from detr_hf.inference import Predictor, find_images, predict_to_folder
from detr_hf.modeling.predictions import PanopticPrediction
from tests.inference.conftest import SIZES_HW
from tests.tiny_runs import ALL_LABELS, THING_LABELS


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_boxes_are_read_by_pycocotools(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(detector, 0.3)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, output="coco", pictures=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.json", "results.json"]
    sources = {category.source_id for category in THING_LABELS.categories}
    results = read(tmp_path, "results.json")
    found = predictor.predict(find_images(images_dir))
    assert len(results) == sum(len(one.above(0.3).scores) for one in found) > 0
    assert all(entry["category_id"] in sources and entry["score"] > 0.3 for entry in results)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "images.json"))
        loaded = truth.loadRes(str(tmp_path / "results.json"))
        COCOeval(truth, loaded, "bbox").evaluate()
    assert [image["file_name"] for image in truth.dataset["images"]] == ["0.png", "1.png", "2.png"]
    x, y, width, height = results[0]["bbox"]
    first = found[0].above(0.3).boxes_xyxy_px[0]
    np.testing.assert_allclose([x, y, x + width, y + height], first, atol=0.02)


def test_segments_are_read_by_pycocotools_and_agree_with_the_id_map(
    segmenter: Path, images_dir: Path, tmp_path: Path
) -> None:
    predictor = Predictor.from_pretrained(segmenter, 0.3)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, output="coco", pictures=False)
    results, panoptic = read(tmp_path, "results.json"), read(tmp_path, "panoptic.json")
    assert panoptic["categories"] == ALL_LABELS.to_coco_categories()
    for annotation, size_hw in zip(panoptic["annotations"], SIZES_HW, strict=True):
        id_map = rgb_to_id(np.asarray(Image.open(tmp_path / "panoptic" / annotation["file_name"])))
        assert id_map.shape == size_hw
        mine = [entry for entry in results if entry["image_id"] == annotation["image_id"]]
        for segment, entry in zip(annotation["segments_info"], mine, strict=True):
            mask = coco_mask.decode(entry["segmentation"]).astype(bool)
            np.testing.assert_array_equal(mask, id_map == segment["id"])
            assert mask.sum() == segment["area"] == coco_mask.area(entry["segmentation"])
            assert entry["category_id"] == segment["category_id"]
            assert coco_mask.toBbox(entry["segmentation"]).tolist() == segment["bbox"] == entry["bbox"]


def test_panopticapi_reads_the_panoptic_files(segmenter: Path, images_dir: Path, tmp_path: Path) -> None:
    """A prediction scored against itself is perfect."""
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi is not installed")
    predictor = Predictor.from_pretrained(segmenter, 0.3)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, output="coco", pictures=False)
    panoptic = read(tmp_path, "panoptic.json")
    pairs = [(annotation, annotation) for annotation in panoptic["annotations"]]
    categories = {category["id"]: category for category in panoptic["categories"]}
    folder = str(tmp_path / "panoptic")
    with contextlib.redirect_stdout(io.StringIO()):
        scored = evaluation.pq_compute_single_core(0, pairs, folder, folder, categories)
    assert scored.pq_average(categories, isthing=None)[0]["pq"] == 1


def test_masks_and_supervision(segmenter: Path, detector: Path, images_dir: Path) -> None:
    pytest.importorskip("supervision", reason="the extra [viz] is not installed")
    [found] = Predictor.from_pretrained(segmenter, 0.3).predict([images_dir / "0.png"])
    assert isinstance(found, PanopticPrediction)
    masks = found.masks()
    assert masks.dtype == bool and masks.shape == (len(found.segments), *SIZES_HW[0])
    assert (masks.sum(0) == (found.id_map > 0)).all()
    given = found.to_supervision(ALL_LABELS)
    np.testing.assert_array_equal(given.mask, masks)
    assert given["class_name"].tolist() == [ALL_LABELS.names[one.category_id] for one in found.segments]
    [boxes] = Predictor.from_pretrained(detector).predict([images_dir / "0.png"])
    plain = boxes.above(0.3).to_supervision()
    assert plain.mask is None and len(plain) == len(boxes.above(0.3).scores)
    assert len(boxes.above(1.0).to_supervision(THING_LABELS)) == 0
