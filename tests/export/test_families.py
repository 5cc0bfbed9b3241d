"""Detectors of every family, exported: as in PyTorch, through the same predictor, without the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detr_hf.export import export_onnx
from detr_hf.inference import Predictor
from detr_hf.inference.onnx import OnnxTask
from tests.export.agreement import refuse_disagreement
from tests.family_models import QUERIES, VARIANTS, save_family
from tests.tiny_models import LABELS


@pytest.mark.slow  # tracing takes ten seconds and more for each; DETR itself is traced by default
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_exported_detector_predicts_as_in_pytorch(
    variant: str, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """Images of sizes that the graph was not traced with; its file tells its sizes and its classes."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'detr-hf[export]'")
    model = save_family(variant, tmp_path / "model", encoder_layers=1, decoder_layers=2)
    made = export_onnx(str(model), tmp_path / "onnx", pictures[:1])
    assert made.differences.passes == 3 and made.differences.boxes < 1e-5
    facts = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert {port["name"]: port["shape"] for port in facts["outputs"]} == {
        "logits": ["batch", QUERIES, LABELS.num_classes],
        "pred_boxes": ["batch", QUERIES, 4],
    }
    in_torch, exported = (
        Predictor.from_pretrained(source, device="cpu") for source in (model, tmp_path / "onnx")
    )
    assert isinstance(exported.task, OnnxTask) and exported.labels == in_torch.labels
    assert exported.score_threshold == in_torch.score_threshold == 0.4
    some = pictures[1:7]
    wanted, given = (list(one.stream(some, batch_size=2)) for one in (in_torch, exported))
    refuse_disagreement(wanted, given, some)
    assert sum(len(one.detections.above(0.4).scores) for one in given) > 0
