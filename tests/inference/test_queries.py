"""What queries say of an image and of its mirror image, for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detr_hf.inference import Predictor
from detr_hf.inference.queries import ImageQueries, image_queries
from tests.factories import draw_scene
from tests.family_models import VARIANTS, save_family

SIZES_HW = [(96, 128), (64, 200), (96, 128), (120, 90)]
FAMILIES = ["conditional_detr", "dab_detr", "deformable_detr_single_scale", "deformable_detr_two_stage"]
IMAGES = [draw_scene(np.random.default_rng(at), size, objects=3).image for at, size in enumerate(SIZES_HW)]


@pytest.fixture(scope="module", params=["detector", "segmenter", *FAMILIES])
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, detector: Path, segmenter: Path
) -> Predictor:
    if request.param in VARIANTS:
        folder = save_family(request.param, tmp_path_factory.mktemp(request.param))
    else:
        folder = detector if request.param == "detector" else segmenter
    return Predictor.from_pretrained(folder, device="cpu")


def assert_close(one: ImageQueries, other: ImageQueries) -> None:
    assert one.embedding == pytest.approx(other.embedding, abs=1e-4)
    for name in ("plain", "mirrored"):
        mine, theirs = getattr(one, name), getattr(other, name)
        for field in ("probabilities", "distribution", "boxes_xyxy_norm"):
            assert getattr(mine, field) == pytest.approx(getattr(theirs, field), abs=1e-4), (name, field)


def test_every_image_in_order_whatever_the_batches(predictor: Predictor) -> None:
    alone = list(image_queries(predictor, iter(IMAGES), 1, mirrored=True))
    batched = list(image_queries(predictor, iter(IMAGES), 2, mirrored=True))
    assert [one.image_id for one in batched] == [0, 1, 2, 3]
    for one, other in zip(alone, batched, strict=True):
        assert_close(one, other)
    assert not np.allclose(alone[0].embedding, alone[2].embedding), "of the image, not of its size"


def test_the_mirror_image_is_the_image_mirrored(predictor: Predictor) -> None:
    [found] = image_queries(predictor, [IMAGES[0]], 1, mirrored=True)
    [turned] = image_queries(predictor, [np.ascontiguousarray(IMAGES[0][:, ::-1])], 1, mirrored=False)
    assert turned.mirrored is None and found.mirrored is not None
    assert found.mirrored.probabilities == pytest.approx(turned.plain.probabilities, abs=1e-3)
    left, _, right, _ = turned.plain.boxes_xyxy_norm.T
    assert found.mirrored.boxes_xyxy_norm[:, 0] == pytest.approx(1 - right, abs=1e-3)
    assert found.mirrored.boxes_xyxy_norm[:, 2] == pytest.approx(1 - left, abs=1e-3)


def test_they_are_those_of_the_prediction(predictor: Predictor) -> None:
    [found] = image_queries(predictor, [IMAGES[1]], 1, mirrored=False)
    detections = predictor.predict([IMAGES[1]])[0].detections
    assert found.plain.probabilities.max() == pytest.approx(detections.scores[0], abs=1e-5)
    shares = found.plain.distribution
    assert shares.shape[1] == found.plain.probabilities.shape[1] + 1
    assert shares.sum(-1) == pytest.approx(np.ones(len(shares)), abs=1e-5) and shares.min() >= 0


def test_the_embedding_is_the_mean_of_what_the_encoder_gives(detector: Path) -> None:
    predictor = Predictor.from_pretrained(detector, device="cpu")
    given: list[torch.Tensor] = []
    predictor.task.detector.model.encoder.register_forward_hook(
        lambda module, inputs, outputs: given.append(outputs.last_hidden_state)
    )
    [found] = image_queries(predictor, [IMAGES[0]], 1, mirrored=True)
    assert len(given) == 2 and found.embedding == pytest.approx(given[0][0].mean(0).numpy()), "as it is"
