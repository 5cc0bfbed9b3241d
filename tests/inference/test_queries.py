"""What queries say of an image and of its mirror image, for every family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detr_hf.inference import Predictor
from detr_hf.inference.queries import ImageQueries, image_queries
from detr_hf.modeling.tile_record import TileGrid
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


def test_a_model_of_tiles_looks_at_each_tile(detector: Path) -> None:
    """Guards: photographs scaled down to what such a model has never learned."""
    predictor = Predictor.from_pretrained(detector, device="cpu")
    image = IMAGES[1]  # 64 x 200: four tiles of 64
    corners = [0, 45, 91, 136]
    tiles = [np.ascontiguousarray(image[:, left : left + 64]) for left in corners]
    alone = list(image_queries(predictor, tiles, 1, mirrored=True))
    predictor.tiles = TileGrid(64, 0.2)
    found, small = image_queries(predictor, [image, tiles[0]], 2, mirrored=True)
    assert (found.image_id, small.image_id) == (0, 1)
    assert found.embedding == pytest.approx(np.mean([one.embedding for one in alone], 0), abs=1e-4)
    assert found.plain.probabilities == pytest.approx(
        np.concatenate([one.plain.probabilities for one in alone]), abs=1e-4
    )
    queries = len(alone[0].plain.boxes_xyxy_norm)
    for at, left in enumerate(corners):
        for view, whole in ((alone[at].plain, found.plain), (alone[at].mirrored, found.mirrored)):
            assert view is not None and whole is not None
            boxes = whole.boxes_xyxy_norm[at * queries : (at + 1) * queries]
            assert boxes[:, 0] == pytest.approx((view.boxes_xyxy_norm[:, 0] * 64 + left) / 200, abs=1e-4)
            assert boxes[:, 3] == pytest.approx(view.boxes_xyxy_norm[:, 3], abs=1e-4)
    assert_close(small, replace(alone[0], image_id=1))
