"""Predictions from files, and finished folders as stock transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessor,
    pipeline,
)

from detr_hf.errors import UserError
from detr_hf.geometry import rgb_to_id
from detr_hf.inference import Predictor, as_rgb, find_images, predict_to_folder
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from tests.factories import draw_scene
from tests.tiny_runs import ALL_LABELS, THING_LABELS, save_detector, save_segmenter

SIZES_HW = [(96, 128), (120, 90), (64, 200)]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for at, size_hw in enumerate(SIZES_HW):
        Image.fromarray(draw_scene(rng, size_hw, objects=3).image).save(folder / f"{at}.png")
    return folder


# ---- what Predictor answers


def test_detections_lie_in_original_pixels_best_first(detector: Path, photographs: Path) -> None:
    predictor = Predictor.from_pretrained(detector, device="cpu")
    assert predictor.labels == THING_LABELS
    found = predictor.predict(find_images(photographs))
    assert [one.image_id for one in found] == [0, 1, 2]
    for one, (height, width) in zip(found, SIZES_HW, strict=True):
        assert isinstance(one, Detections) and len(one.scores) == 7
        assert (np.diff(one.scores) <= 0).all()
        assert (one.boxes_xyxy_px >= 0).all() and (one.boxes_xyxy_px <= [width, height] * 2).all()


def test_a_file_an_array_and_a_pil_image_are_the_same(detector: Path, photographs: Path) -> None:
    path = photographs / "0.png"
    opened = Image.open(path)
    found = Predictor.from_pretrained(detector).predict([path, str(path), np.asarray(opened), opened])
    for other in found[1:]:
        np.testing.assert_array_equal(other.boxes_xyxy_px, found[0].boxes_xyxy_px)


def test_a_turned_pil_image_is_set_upright_as_its_file_is(tmp_path: Path) -> None:
    """Guards: PIL images that the stock processor leaves lying on their side."""
    sideways = Image.fromarray(draw_scene(np.random.default_rng(1), (96, 128), 3).image)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "turned.png", exif=exif)
    opened = as_rgb(Image.open(tmp_path / "turned.png"))
    assert opened.shape == (128, 96, 3)
    np.testing.assert_array_equal(opened, as_rgb(tmp_path / "turned.png"))


def test_neighbours_change_nothing(segmenter: Path, photographs: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.3)
    together = predictor.predict(find_images(photographs))
    alone = predictor.predict([photographs / "1.png"])[0]
    assert isinstance(alone, PanopticPrediction) and isinstance(together[1], PanopticPrediction)
    np.testing.assert_array_equal(alone.id_map, together[1].id_map)
    assert alone.segments == together[1].segments and alone.id_map.shape == (120, 90)


def test_arrays_that_are_no_photograph_are_refused(detector: Path) -> None:
    predictor = Predictor.from_pretrained(detector)
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(UserError, match=r"uint8 \[H, W, 3\] RGB"):
            predictor.predict([wrong])


def test_a_folder_without_a_model_and_a_device_that_is_not_there(tmp_path: Path, detector: Path) -> None:
    with pytest.raises(UserError, match="no model found there"):
        Predictor.from_pretrained(tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="the device cuda cannot be used here"):
            Predictor.from_pretrained(detector, device="cuda")
    with pytest.raises(UserError, match="the device abacus cannot be used here"):
        Predictor.from_pretrained(detector, device="abacus")


# ---- files


def test_find_images(tmp_path: Path, photographs: Path) -> None:
    assert [path.name for path in find_images(photographs)] == ["0.png", "1.png", "2.png"]
    assert find_images(photographs / "1.png") == [photographs / "1.png"]
    with pytest.raises(UserError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find_images(tmp_path / "absent")


def test_a_panoptic_folder_of_results(segmenter: Path, photographs: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.3)
    records = predict_to_folder(predictor, find_images(photographs), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{at}{end}" for at in range(3) for end in (".jpg", ".json", ".panoptic.png"))
    for at, (height, width) in enumerate(SIZES_HW):
        record = json.loads((tmp_path / "out" / f"{at}.json").read_text())
        assert record == records[at]
        assert (record["width"], record["height"]) == (width, height)
        id_map = rgb_to_id(np.asarray(Image.open(tmp_path / "out" / record["panoptic_png"])))
        assert id_map.shape == (height, width)
        areas = {segment["id"]: segment["area_px"] for segment in record["segments"]}
        assert areas and all((id_map == number).sum() == area for number, area in areas.items())
        for segment in record["segments"]:
            assert segment["is_thing"] == ALL_LABELS.is_thing(ALL_LABELS.names.index(segment["label"]))
        drawn = Image.open(tmp_path / "out" / f"{at}.jpg")  # small photographs are drawn larger
        assert drawn.width * height == pytest.approx(drawn.height * width, rel=0.02)


def test_detections_as_json(detector: Path, photographs: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(detector, score_threshold=0.3)
    record = predict_to_folder(predictor, [photographs / "0.png"], tmp_path)[0]
    found = predictor.predict([photographs / "0.png"])[0]
    assert len(record["objects"]) == int((found.scores > 0.3).sum()) > 0
    first = record["objects"][0]
    assert first["label"] == THING_LABELS.names[found.labels[0]]
    assert first["box_xyxy_px"] == pytest.approx(found.boxes_xyxy_px[0], abs=0.006)
    assert all(len(str(value).split(".")[1]) <= 2 for value in first["box_xyxy_px"]), "no float32 tails"


@pytest.mark.parametrize(
    ("names", "results"),
    [
        (["a.png", "a.jpg", "b.png"], ["a.jpg", "a.png", "b.png"]),
        (["a.png", "a.jpg", "a_jpg.png"], ["a.jpg", "a.png", "a_jpg.png"]),
        (["a.png", "b.png"], ["a", "b"]),
    ],
)
def test_equal_stems_do_not_overwrite_each_other(
    names: list[str], results: list[str], detector: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        Image.new("RGB", (40, 30)).save(tmp_path / "in" / name)
    predict_to_folder(Predictor.from_pretrained(detector), find_images(tmp_path / "in"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        f"{one}.json" for one in results
    ]


def test_equal_names_from_different_folders(detector: Path, photographs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (40, 30)).save(other / "0.png")
    sources = [photographs / "0.png", other / "0.png"]
    predict_to_folder(Predictor.from_pretrained(detector), sources, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "00000_0.png.json",
        "00001_0.png.json",
    ]


def test_results_never_replace_the_photographs(detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match="holds the images themselves"):
        predict_to_folder(Predictor.from_pretrained(detector), [tmp_path / "a.jpg"], tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_is_named(detector: Path, photographs: Path, tmp_path: Path) -> None:
    whole = (photographs / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.png"):
        predict_to_folder(Predictor.from_pretrained(detector), [tmp_path / "cut.png"], tmp_path / "out")


# ---- the same folders in stock transformers


def test_stock_transformers_reads_a_detector(detector: Path, photographs: Path) -> None:
    model, info = DetrForObjectDetection.from_pretrained(detector, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.config.id2label == dict(enumerate(THING_LABELS.names))
    processor = AutoImageProcessor.from_pretrained(detector)
    assert dict(processor.size) == {"shortest_edge": 64, "longest_edge": 128}


def boxes_of_pipeline(folder: Path, photograph: Path) -> list[tuple[float, str, list[int]]]:
    """Sorted by score; the boxes of stock are whole pixels."""
    processor = DetrImageProcessor.from_pretrained(folder)
    stock = pipeline("object-detection", model=str(folder), image_processor=processor, device="cpu")
    found = stock(str(photograph), threshold=0.0)
    rows = [
        (one["score"], one["label"], [one["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")])
        for one in found
    ]
    return sorted(rows, key=lambda row: -row[0])


def test_the_stock_pipeline_finds_the_same_boxes(detector: Path, photographs: Path) -> None:
    """Up to the filter: stock resizes with torchvision's antialiased bilinear, ours with Pillow's, and pixels
    differ by a grey level or two. Stock neither clips boxes to the picture nor keeps fractions of a pixel.
    """
    predictor = Predictor.from_pretrained(detector)
    for photograph, (height, width) in zip(find_images(photographs), SIZES_HW, strict=True):
        ours = predictor.predict([photograph])[0]
        theirs = boxes_of_pipeline(detector, photograph)
        assert isinstance(ours, Detections) and len(theirs) == len(ours.scores)
        np.testing.assert_allclose([row[0] for row in theirs], ours.scores, atol=0.02)
        clipped = np.clip([row[2] for row in theirs], 0, [width, height, width, height])
        np.testing.assert_allclose(clipped, ours.boxes_xyxy_px, atol=2.0)
        assert [row[1] for row in theirs] == [THING_LABELS.names[label] for label in ours.labels]


def test_stock_transformers_reads_a_segmenter(segmenter: Path, photographs: Path) -> None:
    model, info = DetrForSegmentation.from_pretrained(segmenter, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert list(model.config.id2label.values()) == list(ALL_LABELS.names)
    processor = DetrImageProcessor.from_pretrained(segmenter)
    stock = pipeline("image-segmentation", model=str(segmenter), image_processor=processor, device="cpu")
    found = stock(
        str(photographs / "0.png"), threshold=0.3, mask_threshold=0.0, overlap_mask_area_threshold=0.0
    )
    assert found, "a low threshold finds something in random weights"
    for one in found:
        assert one["label"] in ALL_LABELS.names and one["mask"].size == (128, 96)
