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

from detr_hf.data.given_ids import read_given_ids
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Place
from detr_hf.errors import UserError
from detr_hf.geometry import rgb_to_id
from detr_hf.inference import Predictor, find_images, predict_to_folder
from detr_hf.inference.folder import Output
from detr_hf.modeling.predictions import PanopticPrediction
from tests.inference.conftest import SIZES_HW
from tests.inference.found import FakePredictor
from tests.tiny_runs import ALL_LABELS, THING_LABELS


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_boxes_are_read_by_pycocotools(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(detector, 0.3)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output("coco", pictures=False))
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["images.json", "instances_predictions.json", "results.json"]
    sources = {category.source_id for category in THING_LABELS.categories}
    results = read(tmp_path, "results.json")
    found = list(predictor.stream(find_images(images_dir)))
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
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output("coco", pictures=False))
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


def test_the_data_set_holds_the_results(images_dir: Path, tmp_path: Path) -> None:
    predictor: Any = FakePredictor(ALL_LABELS, is_panoptic=True)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output("coco", pictures=False))
    _, opened = open_place(Place(tmp_path, "predicted", images_dir))
    [source] = opened.splits.values()
    objects = [(sample.image_id, one) for sample in source.samples() for one in sample.objects]
    results = read(tmp_path, "results.json")
    assert len(objects) == len(results) > 0
    for (image_id, here), there in zip(objects, results, strict=True):
        assert image_id == there["image_id"] and not here.iscrowd
        assert ALL_LABELS.label2id[here.category] == ALL_LABELS.source_to_class[there["category_id"]]
        assert (here.bbox, here.score) == (there["bbox"], there["score"])
        assert here.segmentation == there["segmentation"] and here.area == there["area"]


def with_ids(images_dir: Path, file: Path, categories: list[dict[str, Any]], **sizes: int) -> Path:
    """A COCO JSON with ids of its own: of two of the three images, and one more."""
    images = [
        {"id": 100 + at, "file_name": f"val/{at}.png", "height": SIZES_HW[at][0], "width": SIZES_HW[at][1]}
        for at in (2, 0)
    ]
    images[1] |= sizes
    images.append({"id": 7, "file_name": "elsewhere.png", "height": 10, "width": 10})
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    return file


def test_results_under_given_ids_are_scored_against_the_given_file(
    detector: Path, images_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """guards: scored against its own boxes as the truth, under the ids of that truth, all is right."""
    predictor = Predictor.from_pretrained(detector, 0.3)
    known, unknown = THING_LABELS.names[:-1], THING_LABELS.names[-1]
    categories = [{"id": 50 - at, "name": name} for at, name in enumerate(known)]
    given = with_ids(images_dir, tmp_path / "given.json", categories)
    output = Output("coco", image_ids=read_given_ids(given), pictures=False)
    out = tmp_path / "out"
    predict_to_folder(predictor, find_images(images_dir), out, output)
    said = capsys.readouterr().out
    assert f"has no class {unknown}: objects of it are left out" in said
    assert "does not list 1.png: left out" in said and "1 image not among" in said
    results = read(out, "results.json")
    assert {one["image_id"] for one in results} == {100, 102}
    content = json.loads(given.read_text())
    for number, one in enumerate(results, start=1):
        area = one["bbox"][2] * one["bbox"][3]
        truth = {**one, "id": number, "iscrowd": 0, "area": area}
        content["annotations"].append(truth)
    given.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(given))
        scored = COCOeval(truth, truth.loadRes(str(out / "results.json")), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1)
    [first] = predictor.stream([images_dir / "0.png"])
    sure = first.detections.above(0.3)
    expected = [50 - label for label in sure.labels.tolist() if label < len(known)]
    assert [one["category_id"] for one in results if one["image_id"] == 100] == expected
    names = {image["id"]: image["file_name"] for image in read(out, "images.json")["images"]}
    assert names == {100: "val/0.png", 102: "val/2.png"}
    assert read(out, "images.json")["categories"] == categories


def test_an_image_of_another_size_than_given_is_named(
    detector: Path, images_dir: Path, tmp_path: Path
) -> None:
    """guards: boxes of an image that EXIF turns, scored against a file that was written before the turn."""
    categories = THING_LABELS.to_coco_categories()
    given = with_ids(images_dir, tmp_path / "given.json", categories, width=96, height=128)
    output = Output("coco", image_ids=read_given_ids(given), pictures=False)
    predictor = Predictor.from_pretrained(detector, 0.3)
    with pytest.raises(UserError, match=r"0.png: it has 128x96 pixels upright, .*given.json says 96x128"):
        predict_to_folder(predictor, find_images(images_dir), tmp_path / "out", output)
    assert [one["id"] for one in read(tmp_path / "out", "images.json")["images"]] == [102]


def test_segments_under_given_ids(images_dir: Path, tmp_path: Path) -> None:
    """Segments of classes that are not given are void."""
    predictor: Any = FakePredictor(ALL_LABELS, is_panoptic=True)
    found = predictor.found(0, SIZES_HW[0])
    kept = ALL_LABELS.names[found.segments[0].category_id]
    given = with_ids(images_dir, tmp_path / "given.json", [{"id": 9, "name": kept}])
    output = Output("coco", image_ids=read_given_ids(given), pictures=False)
    predict_to_folder(predictor, [images_dir / "0.png"], tmp_path / "out", output)
    [annotation] = read(tmp_path / "out", "panoptic.json")["annotations"]
    ids = np.unique(rgb_to_id(np.asarray(Image.open(tmp_path / "out/panoptic" / annotation["file_name"]))))
    assert annotation["image_id"] == 100
    assert {one["category_id"] for one in annotation["segments_info"]} == {9}
    assert set(ids.tolist()) - {0} == {one["id"] for one in annotation["segments_info"]}
    assert len(annotation["segments_info"]) < len(found.segments)


def test_panopticapi_reads_the_panoptic_files(segmenter: Path, images_dir: Path, tmp_path: Path) -> None:
    """A prediction scored against itself is perfect."""
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi is not installed")
    predictor = Predictor.from_pretrained(segmenter, 0.3)
    predict_to_folder(predictor, find_images(images_dir), tmp_path, Output("coco", pictures=False))
    panoptic = read(tmp_path, "panoptic.json")
    pairs = [(annotation, annotation) for annotation in panoptic["annotations"]]
    categories = {category["id"]: category for category in panoptic["categories"]}
    folder = str(tmp_path / "panoptic")
    with contextlib.redirect_stdout(io.StringIO()):
        scored = evaluation.pq_compute_single_core(0, pairs, folder, folder, categories)
    assert scored.pq_average(categories, isthing=None)[0]["pq"] == 1


def test_masks_and_supervision(segmenter: Path, detector: Path, images_dir: Path) -> None:
    pytest.importorskip("supervision", reason="the extra [viz] is not installed")
    [found] = Predictor.from_pretrained(segmenter, 0.3).stream([images_dir / "0.png"])
    assert isinstance(found, PanopticPrediction)
    masks = found.masks()
    assert masks.dtype == bool and masks.shape == (len(found.segments), *SIZES_HW[0])
    assert (masks.sum(0) == (found.id_map > 0)).all()
    given = found.to_supervision(ALL_LABELS)
    np.testing.assert_array_equal(given.mask, masks)
    assert given["class_name"].tolist() == [ALL_LABELS.names[one.category_id] for one in found.segments]
    [boxes] = Predictor.from_pretrained(detector).stream([images_dir / "0.png"])
    plain = boxes.above(0.3).to_supervision()
    assert plain.mask is None and len(plain) == len(boxes.above(0.3).scores)
    assert len(boxes.above(1.0).to_supervision(THING_LABELS)) == 0
