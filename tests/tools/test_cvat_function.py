"""The function for CVAT's auto-annotation: what it finds, and what CVAT's SDK says of it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.inference import Predictor
from detr_hf.modeling.predictions import PanopticPrediction
from tests.inference.found import FakePredictor
from tests.tiny_runs import ALL_LABELS, THING_LABELS, save_detector
from tools.cvat_function import DetrFunction, create


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))


def segmenting(detector: Path) -> tuple[DetrFunction, FakePredictor]:
    function, fake = create(str(detector)), FakePredictor(ALL_LABELS, is_panoptic=True)
    fake.predict = lambda images: list(fake.stream(images))  # type: ignore[attr-defined]
    function._model = function._predictor = fake  # type: ignore[assignment]
    return function, fake


@pytest.mark.parametrize("tile", [None, 64])
def test_a_detector_gives_rectangles_with_scores(
    detector: Path, image: Image.Image, tile: int | None
) -> None:
    function = create(str(detector), threshold=0.3, tile=tile)
    found = function.shapes(image)
    assert found and all(one.kind == "rectangle" and one.score > 0.3 for one in found)
    if tile is None:
        sure = Predictor.from_pretrained(detector, 0.3).predict(image).detections.above(0.3)
        assert [one.label for one in found] == sure.labels.tolist()
        np.testing.assert_allclose([one.points for one in found], sure.boxes_xyxy_px, atol=0.01)


def test_the_score_that_was_asked_for_is_enough_and_does_not_last(detector: Path, image: Image.Image) -> None:
    function = create(str(detector), threshold=0.3)
    scores = [float(one) for one in Predictor.from_pretrained(detector).predict(image).detections.scores]
    assert len(function.shapes(image, scores[1])) == 2
    assert len(function.shapes(image, 0.0)) == len(scores)
    assert len(function.shapes(image)) == sum(score > 0.3 for score in scores)


def test_a_segmenter_gives_a_polygon_a_segment(detector: Path, image: Image.Image) -> None:
    function, fake = segmenting(detector)
    found, truth = function.shapes(image), fake.found(0, (90, 120))
    assert isinstance(truth, PanopticPrediction)
    assert [one.label for one in found] == [one.category_id for one in truth.segments]
    assert all(one.kind == "polygon" and len(one.points) >= 6 for one in found)


@pytest.mark.parametrize("kind", ["rectangle", "polygon"])
def test_the_sdk_takes_labels_and_shapes(
    detector: Path, image: Image.Image, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of two images and all labels in another order, as CVAT's driver annotates it."""
    cvataa = pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed")
    from cvat_sdk.auto_annotation import driver

    function = create(str(detector), threshold=0.3) if kind == "rectangle" else segmenting(detector)[0]
    labels = THING_LABELS if kind == "rectangle" else ALL_LABELS
    server_ids = {name: 100 - at for at, name in enumerate(labels.names)}
    task = SimpleNamespace(
        labels=[
            SimpleNamespace(id=number, name=name, type=kind, attributes=[], sublabels=[])
            for name, number in server_ids.items()
        ],
        samples=[
            SimpleNamespace(
                frame_index=frame,
                frame_name=f"{frame}.jpg",
                media=SimpleNamespace(load_image=lambda: image),
            )
            for frame in (0, 1)
        ],
    )
    monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: task)
    sent: dict[str, Any] = {}

    class Api:
        def partial_update_annotations(self, action: str, task_id: int, **data: Any) -> None:
            sent.update(data, task_id=task_id)

    client = SimpleNamespace(logger=logging.getLogger("cvat"), tasks=SimpleNamespace(api=Api()))
    cvataa.annotate_task(client, 7, function)
    shapes = sent["patched_labeled_data_request"].shapes
    truth = function.shapes(image)
    assert len(shapes) == 2 * len(truth) > 0 and {shape.frame for shape in shapes} == {0, 1}
    for shape, one in zip(shapes, truth, strict=False):
        assert shape.type.value == one.kind == kind and shape.source == "auto"
        assert shape.label_id == server_ids[labels.names[one.label]]
        assert (list(shape.points), shape.score) == (one.points, one.score)
