"""The code in docs/export.md that does without this package finds what the predictor finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.inference import Predictor
from tests.doc_page import ROOT, Page
from tests.factories import draw_scene


def test_the_snippet_finds_the_same(segmenter_onnx: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(draw_scene(np.random.default_rng(1), (96, 128), objects=3).image).save(photo)
    code = Page("docs/export.md", (ROOT / "docs" / "export.md").read_text()).of_language("python")[0]
    for said, meant in {'"runs/onnx"': repr(str(segmenter_onnx)), '"photo.jpg"': repr(str(photo))}.items():
        assert said in code
        code = code.replace(said, meant)
    assert "detr_hf" not in code
    names: dict[str, Any] = {}
    exec(compile(code, "docs/export.md", "exec"), names)
    found = sorted(names["found"], key=lambda one: -one[1])

    predictor = Predictor.from_pretrained(segmenter_onnx, 0.5, "cpu")
    [predicted] = predictor.stream([photo])
    wanted = predicted.detections.above(0.5)
    assert len(found) == len(wanted.scores) > 0
    assert [name for name, *_ in found] == [predictor.labels.names[label] for label in wanted.labels]
    assert [score for _, score, *_ in found] == pytest.approx(wanted.scores.tolist(), abs=1e-3)
    boxes = np.array([box for *_, box, _ in found]).clip(0, [128, 96, 128, 96])
    assert boxes == pytest.approx(wanted.boxes_xyxy_px, abs=0.1)
    assert all(mask.shape == (96, 128) for *_, mask in found)
