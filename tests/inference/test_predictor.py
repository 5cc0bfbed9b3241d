"""What a predictor answers, and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.inference import Predictor, TiledPredictor, find_images, sample_of
from detr_hf.inference.results import nothing_found
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from tests.inference.conftest import SIZES_HW
from tests.tiny_runs import THING_LABELS, save_detector


def test_detections_lie_in_original_pixels_best_first(detector: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(detector, device="cpu")
    assert predictor.labels == THING_LABELS
    found = list(predictor.stream(find_images(images_dir)))
    assert [one.image_id for one in found] == [0, 1, 2]
    for one, (height, width) in zip(found, SIZES_HW, strict=True):
        assert isinstance(one, Detections) and len(one.scores) == 7
        assert (np.diff(one.scores) <= 0).all()
        assert (one.boxes_xyxy_px >= 0).all() and (one.boxes_xyxy_px <= [width, height] * 2).all()


def test_a_file_an_array_and_a_pil_image_are_the_same(detector: Path, images_dir: Path) -> None:
    path = images_dir / "0.png"
    opened = Image.open(path)
    found = [*Predictor.from_pretrained(detector).stream([path, str(path), np.asarray(opened), opened])]
    for other in found[1:]:
        np.testing.assert_array_equal(other.boxes_xyxy_px, found[0].boxes_xyxy_px)


def test_neighbors_change_nothing(segmenter: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.3)
    together = list(predictor.stream(find_images(images_dir)))
    alone = predictor.predict(images_dir / "1.png").prediction  # one image need not be in a list
    assert isinstance(alone, PanopticPrediction) and isinstance(together[1], PanopticPrediction)
    np.testing.assert_array_equal(alone.id_map, together[1].id_map)
    assert alone.segments == together[1].segments and alone.id_map.shape == (120, 90)


def test_arrays_that_are_no_photograph_are_refused(detector: Path) -> None:
    predictor = Predictor.from_pretrained(detector)
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(UserError, match=r"uint8 \[H, W, 3\] RGB"):
            predictor.predict([wrong])
    nothing: list[Any] = [None, 7, [[[0, 0, 0]]], [b"bytes"], np.zeros((0, 4, 3), np.uint8)]
    for wrong in nothing:
        with pytest.raises(UserError, match=r"must be .*uint8"):
            predictor.predict(wrong)


def test_numbers_that_make_no_sense_are_refused(detector: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(detector, score_threshold=0)
    found, wrong = predictor.predict(images_dir / "0.png"), [-0.1, 1.5, float("nan"), "0.5", True]
    for value in wrong:
        with pytest.raises(UserError, match="a number from 0 to 1, got"):
            predictor.score_threshold = value  # type: ignore[assignment]
        with pytest.raises(UserError, match="a number from 0 to 1, got"):
            found.above(value)  # type: ignore[arg-type]
    for size in (0, "2", 1.5):
        with pytest.raises(UserError, match="batch_size: must be a whole number"):
            predictor.predict(images_dir / "0.png", size)  # type: ignore[call-overload]


def test_a_folder_without_a_model_and_a_device_that_is_not_there(tmp_path: Path, detector: Path) -> None:
    with pytest.raises(UserError, match="no model found there"):
        Predictor.from_pretrained(tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="the device cuda cannot be used here"):
            Predictor.from_pretrained(detector, device="cuda")
    with pytest.raises(UserError, match="the device abacus cannot be used here"):
        Predictor.from_pretrained(detector, device="abacus")


@pytest.mark.parametrize("stage", ["detector", "segmenter"])
def test_batches_change_nothing_but_the_last_digits(
    stage: str, images_dir: Path, request: pytest.FixtureRequest
) -> None:
    predictor = Predictor.from_pretrained(request.getfixturevalue(stage), score_threshold=0.3)
    paths = [*find_images(images_dir), *reversed(find_images(images_dir))]
    alone, together = (list(predictor.stream(paths, batch_size=size)) for size in (1, 2))
    assert [one.image_id for one in together] == list(range(6))
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, PanopticPrediction) and isinstance(other, PanopticPrediction):
            assert (one.id_map == other.id_map).mean() > 0.999
            one, other = one.detections, other.detections
        assert isinstance(one, Detections) and isinstance(other, Detections)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes_xyxy_px, other.boxes_xyxy_px, atol=1e-3)


def test_a_stream_reads_no_further_than_it_must(detector: Path) -> None:
    read = []

    def arrays() -> Iterator[np.ndarray]:
        for number in range(50):
            read.append(number)
            yield np.zeros((60, 80, 3), np.uint8)

    stream = Predictor.from_pretrained(detector).stream(arrays(), batch_size=4)
    assert next(stream).image_id == 0 and len(read) == 4


def test_a_threshold_may_be_changed(segmenter: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.999)
    assert predictor.is_panoptic and predictor.predict([images_dir / "0.png"])[0].segments == []
    predictor.score_threshold = 0.3
    assert predictor.predict([images_dir / "0.png"])[0].segments != []


def test_half_precision_keeps_weights_and_results_in_float32(segmenter: Path, images_dir: Path) -> None:
    full, half = (
        Predictor.from_pretrained(segmenter, 0.3, "cpu", precision) for precision in ("fp32", "bf16")
    )
    assert {parameter.dtype for parameter in half.task.parameters()} == {torch.float32}
    one, other = (each.predict([images_dir / "0.png"])[0].detections for each in (full, half))
    assert other.scores.dtype == np.float32 and (one.scores != other.scores).any()
    np.testing.assert_allclose(one.scores, other.scores, atol=0.1)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        Predictor.from_pretrained(segmenter, device="cpu", precision="fp16")
    with pytest.raises(UserError, match="choose fp32, bf16 or fp16"):
        Predictor.from_pretrained(segmenter, device="cpu", precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(("size_hw", "seen_hw"), [((96, 128), (64, 96)), ((100, 90), (64, 64))])
def test_a_backbone_of_patches_sees_the_rim(
    size_hw: tuple[int, int], seen_hw: tuple[int, int], tmp_path: Path
) -> None:
    """Guards: patches that are not whole, which the backbone drops with all that lies in them."""
    folder = save_detector(tmp_path, backbone="test_convnext3")
    predictor = Predictor.from_pretrained(folder)
    side = predictor.task.patch_side
    assert side == 32
    image = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    _, target = sample_of(0, image, predictor.resize, predictor.processor)
    assert target["size_hw"] == seen_hw and target["original_size_hw"] == size_hw
    changed = image.copy()
    changed[-2:] = 255 - changed[-2:]
    one, other = predictor.stream([image, changed])
    assert (one.scores != other.scores).any(), "the last rows are seen"
    assert (one.boxes_xyxy_px <= [size_hw[1], size_hw[0]] * 2).all()


@pytest.mark.parametrize(
    ("highest", "threshold", "advice"),
    [
        (0.6, 0.85, "see what --threshold 0.54 shows"),
        (0.05, 0.85, "a lower one would show guesses: train for longer, or see whether the images"),
        (0.9, 0.85, "no mask was left for it"),
    ],
)
def test_where_nothing_is_found_the_next_step_is_named(highest: float, threshold: float, advice: str) -> None:
    told = nothing_found(highest, threshold)
    assert f"the highest score is {highest:.2f}, the threshold {threshold:.2f}" in told and advice in told


def test_the_highest_score_is_known_also_where_tiles_drop_it(detector: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(detector, 1.0)
    [found] = TiledPredictor(predictor, 16).predict([images_dir / "0.png"])
    assert not len(found.detections.scores) and 0 < predictor.highest_score < 1
