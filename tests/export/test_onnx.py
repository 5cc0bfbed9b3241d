"""Prediction from an exported folder: as from PyTorch, through the same predictor."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from detr_hf.errors import UserError
from detr_hf.inference import Predictor, sample_of
from detr_hf.inference.onnx import OnnxTask, is_export
from detr_hf.loading.collate import collate
from detr_hf.modeling.predictions import PanopticPrediction
from tests.export.agreement import refuse_disagreement

THRESHOLD = 0.3


@pytest.fixture(scope="module")
def predictors(segmenter: Path, segmenter_onnx: Path) -> tuple[Predictor, Predictor]:
    """In PyTorch, and exported."""
    in_torch = Predictor.from_pretrained(segmenter, THRESHOLD, "cpu")
    return in_torch, Predictor.from_pretrained(segmenter_onnx, THRESHOLD, "cpu")


def test_twenty_pictures_of_differing_sizes(
    predictors: tuple[Predictor, Predictor], pictures: list[np.ndarray]
) -> None:
    in_torch, exported = predictors
    assert isinstance(exported.task, OnnxTask) and exported.is_panoptic
    assert exported.labels == in_torch.labels
    segments = refuse_disagreement(list(in_torch.stream(pictures)), list(exported.stream(pictures)), pictures)
    assert segments > 20


def test_a_padded_batch(predictors: tuple[Predictor, Predictor], pictures: list[np.ndarray]) -> None:
    in_torch, some = predictors[0], pictures[:3]
    samples = [sample_of(at, picture, in_torch.resize, in_torch.processor) for at, picture in enumerate(some)]
    batch = collate(samples)
    assert (batch.pixel_mask == 0).any()
    wanted, given = (
        predictor.task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)
        for predictor in predictors
    )
    refuse_disagreement(wanted, given, some)


def test_the_threshold_may_be_changed_later(
    predictors: tuple[Predictor, Predictor], pictures: list[np.ndarray]
) -> None:
    for threshold in (0.0, 0.6, 1.0):
        found = []
        for predictor in predictors:
            before, predictor.score_threshold = predictor.score_threshold, threshold
            found.append(list(predictor.stream(pictures[:1])))
            predictor.score_threshold = before
        segments = refuse_disagreement(*found, pictures[:1])
        assert (segments == 0) == (threshold == 1.0)


def test_an_export_cannot_be_explained(
    predictors: tuple[Predictor, Predictor], pictures: list[np.ndarray]
) -> None:
    with pytest.raises(UserError, match="an exported model cannot be explained"):
        predictors[1].explain(pictures[0])


def test_precision_and_device_are_refused_where_they_cannot_be(segmenter_onnx: Path) -> None:
    with pytest.raises(UserError, match="exported in float32; precision bf16 is for PyTorch"):
        Predictor.from_pretrained(segmenter_onnx, precision="bf16")
    with pytest.raises(UserError, match="cpu or cuda, not on mps"):
        Predictor.from_pretrained(segmenter_onnx, device="mps")
    with pytest.raises(UserError, match="the device toaster is not known"):
        Predictor.from_pretrained(segmenter_onnx, device="toaster")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UserError, match="pip install onnxruntime-gpu"):
            Predictor.from_pretrained(segmenter_onnx, device="cuda")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.onnx", b"not a graph", r"model\.onnx cannot be opened"),
        ("export.json", b"{}", r"export\.json cannot be read"),
        ("export.json", b'{"patch_side": -3}', "patch_side is -3"),
    ],
)
def test_a_damaged_folder_is_told(
    segmenter_onnx: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    shutil.copytree(segmenter_onnx, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        Predictor.from_pretrained(tmp_path)


def test_a_missing_runtime_is_named(segmenter_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'detr-hf\[export\]'"):
        OnnxTask(segmenter_onnx)


def test_a_model_in_pytorch_is_no_export(segmenter: Path, segmenter_onnx: Path) -> None:
    assert is_export(segmenter_onnx) and not is_export(segmenter)
    assert not is_export("user/name")


def test_nothing_found_is_a_prediction_too(
    predictors: tuple[Predictor, Predictor], pictures: list[np.ndarray]
) -> None:
    exported = predictors[1]
    exported.score_threshold = 1.0
    [found] = exported.stream(pictures[:1])
    exported.score_threshold = THRESHOLD
    assert isinstance(found, PanopticPrediction)
    assert found.segments == [] and found.id_map.shape == pictures[0].shape[:2] and not found.id_map.any()
