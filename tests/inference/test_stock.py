"""Finished folders as stock transformers reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transformers import (
    AutoImageProcessor,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessor,
    pipeline,
)

from detr_hf.inference import Predictor, find_images
from detr_hf.modeling.predictions import Detections
from tests.inference.conftest import SIZES_HW
from tests.tiny_runs import ALL_LABELS, THING_LABELS


def test_stock_transformers_reads_a_detector(detector: Path, images_dir: Path) -> None:
    model, info = DetrForObjectDetection.from_pretrained(detector, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.config.id2label == dict(enumerate(THING_LABELS.names))
    processor = AutoImageProcessor.from_pretrained(detector)
    assert dict(processor.size) == {"shortest_edge": 64, "longest_edge": 128}


def boxes_of_pipeline(folder: Path, image: Path) -> list[tuple[float, str, list[int]]]:
    """Sorted by score; the boxes of stock are whole pixels."""
    processor = DetrImageProcessor.from_pretrained(folder)
    stock = pipeline("object-detection", model=str(folder), image_processor=processor, device="cpu")
    found = stock(str(image), threshold=0.0)
    rows = [
        (one["score"], one["label"], [one["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")])
        for one in found
    ]
    return sorted(rows, key=lambda row: -row[0])


def test_the_stock_pipeline_finds_the_same_boxes(detector: Path, images_dir: Path) -> None:
    """Up to the filter: stock resizes with torchvision's antialiased bilinear, ours with Pillow's, and pixels
    differ by a gray level or two. Stock neither clips boxes to the image nor keeps fractions of a pixel.
    """
    predictor = Predictor.from_pretrained(detector)
    for image, (height, width) in zip(find_images(images_dir), SIZES_HW, strict=True):
        ours = next(predictor.stream([image]))
        theirs = boxes_of_pipeline(detector, image)
        assert isinstance(ours, Detections) and len(theirs) == len(ours.scores)
        np.testing.assert_allclose([row[0] for row in theirs], ours.scores, atol=0.02)
        clipped = np.clip([row[2] for row in theirs], 0, [width, height, width, height])
        np.testing.assert_allclose(clipped, ours.boxes_xyxy_px, atol=2.0)
        assert [row[1] for row in theirs] == [THING_LABELS.names[label] for label in ours.labels]


def test_stock_transformers_reads_a_segmenter(segmenter: Path, images_dir: Path) -> None:
    model, info = DetrForSegmentation.from_pretrained(segmenter, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert list(model.config.id2label.values()) == list(ALL_LABELS.names)
    processor = DetrImageProcessor.from_pretrained(segmenter)
    stock = pipeline("image-segmentation", model=str(segmenter), image_processor=processor, device="cpu")
    found = stock(
        str(images_dir / "0.png"), threshold=0.3, mask_threshold=0.0, overlap_mask_area_threshold=0.0
    )
    assert found, "a low threshold finds something in random weights"
    for one in found:
        assert one["label"] in ALL_LABELS.names and one["mask"].size == (128, 96)
