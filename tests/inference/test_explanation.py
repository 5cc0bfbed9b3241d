"""What kept queries saw, and that it is what the model used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detr_hf.errors import UserError
from detr_hf.inference import Predictor, predict_to_folder
from detr_hf.inference.folder import Output
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from detr_hf.visualize.explanation import draw_explanation
from tests.tiny_models import random_batch, tiny_detector


@pytest.mark.parametrize(("ours", "apart"), [("eager", 1e-6), ("sdpa", 1e-4)])
def test_attention_is_what_stock_puts_out_with_eager_attention(ours: str, apart: float) -> None:
    """To the last digits where the layers before attend in the same way."""
    stock, detector = tiny_detector(), tiny_detector()
    stock.set_attn_implementation("eager")
    detector.set_attn_implementation(ours)
    pixels, mask, _ = random_batch([1, 1], [(64, 96), (96, 70)])  # the second one is padded
    with torch.no_grad():
        expected = stock(pixels, mask, output_attentions=True)
        with DETR.record_looks(detector) as recorded:
            found = DETR.run(detector, pixels, mask, all_layers=False)
    assert len(recorded) == 1
    weights = recorded[0].weights.flatten(3)
    torch.testing.assert_close(weights, expected.cross_attentions[-1], atol=apart, rtol=apart)
    torch.testing.assert_close(found.logits[-1], expected.logits, atol=1e-4, rtol=1e-4)
    attention = detector.model.decoder.layers[-1].encoder_attn
    assert attention.config is detector.config and not detector.model.backbone._forward_hooks, (
        "left as it was"
    )


def test_an_explanation_of_stage_2(segmenter: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(segmenter, score_threshold=0.3)
    explained = predictor.explain(images_dir / "1.png")
    predicted = next(predictor.stream([images_dir / "1.png"]))
    assert isinstance(predicted, PanopticPrediction)
    assert isinstance(explained.prediction, PanopticPrediction)
    np.testing.assert_array_equal(explained.prediction.id_map, predicted.id_map)
    sure = predicted.detections.above(0.3)
    assert [view.label for view in explained.queries] == sure.labels[: len(explained.queries)].tolist()
    for view, box in zip(explained.queries, sure.boxes_xyxy_px, strict=False):
        assert view.mask is not None and view.mask.shape == view.attention.shape == (120, 90)
        assert view.mask.min() >= 0 and view.mask.max() <= 1
        assert view.attention.max() == pytest.approx(1) and view.attention.min() >= 0
        np.testing.assert_allclose(view.box_xyxy_px, box, atol=1e-3)
    assert explained.queries, "a low threshold keeps some queries of random weights"
    largest = np.argmax([view.mask for view in explained.queries], 0)
    owners = {view.label for view in explained.queries}
    assert largest.shape == (120, 90) and owners >= {one.category_id for one in predicted.segments}


def test_an_explanation_of_stage_1_and_of_nothing(detector: Path, images_dir: Path) -> None:
    predictor = Predictor.from_pretrained(detector, score_threshold=0.3)
    explained = predictor.explain(images_dir / "0.png")
    assert isinstance(explained.prediction, Detections)
    assert len(explained.queries) == len(explained.prediction.above(0.3).scores) > 0
    assert all(view.mask is None for view in explained.queries)
    assert draw_explanation(explained, predictor.labels, 0.3).width > 1900
    predictor.score_threshold = 1.0
    nothing = predictor.explain(images_dir / "0.png")
    assert nothing.queries == []
    assert draw_explanation(nothing, predictor.labels, 1.0).height > 100


def test_an_exported_model_is_not_explained(detector: Path, images_dir: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(detector)
    predictor.task = SimpleNamespace(labels=predictor.labels, is_panoptic=False)
    for ask in (
        lambda: predictor.explain(images_dir / "0.png"),
        lambda: predict_to_folder(predictor, [images_dir / "0.png"], tmp_path / "out", Output(explain=True)),
    ):
        with pytest.raises(UserError, match="an exported model cannot be explained"):
            ask()
    assert not (tmp_path / "out").exists(), "refused before anything is predicted"
