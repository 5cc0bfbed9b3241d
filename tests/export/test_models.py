"""Whole models of both stages and of several backbones, exported and compared on twenty pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.export import export_onnx
from detr_hf.inference import Predictor
from tests.export.agreement import refuse_disagreement
from tests.modeling.test_backbones import OWN_RESNET
from tests.tiny_runs import ALL_LABELS, save_detector, save_segmenter

pytestmark = pytest.mark.slow


def checkpoint(folder: Path) -> Path:
    return CHECKPOINT


def detector_with_timm_resnet(folder: Path) -> Path:
    return save_detector(folder, ALL_LABELS)


def segmenter_with_timm_resnet18(folder: Path) -> Path:
    return save_segmenter(folder, backbone="resnet18", encoder_layers=1, decoder_layers=2)


def detector_with_own_resnet(folder: Path) -> Path:
    return save_detector(folder, ALL_LABELS, backbone=OWN_RESNET)


MODELS = [checkpoint, detector_with_timm_resnet, segmenter_with_timm_resnet18, detector_with_own_resnet]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_twenty_pictures_of_differing_sizes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'detr-hf[export]'")
    sizes = np.random.default_rng(0).integers(120, 300, (20, 2)).tolist()
    pictures = [draw_scene(5, at, tuple(size_hw)).image for at, size_hw in enumerate(sizes)]
    model = make(tmp_path / "model")
    export_onnx(str(model), tmp_path / "onnx", pictures[:2])
    in_torch, exported = (
        Predictor.from_pretrained(source, 0.4, "cpu") for source in (model, tmp_path / "onnx")
    )
    assert exported.resize.describe() == in_torch.resize.describe()
    segments = refuse_disagreement(list(in_torch.stream(pictures)), list(exported.stream(pictures)), pictures)
    assert segments > 10 or not in_torch.is_panoptic


def test_another_opset(segmenter: Path, tmp_path: Path, pictures: list[np.ndarray]) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'detr-hf[export]'")
    export_onnx(str(segmenter), tmp_path / "onnx", pictures[:2], opset=21)
    model = onnx.load(tmp_path / "onnx" / "model.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [21]
