"""Segments that a report showed: kept for the next one, never taken for those of another model or image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from detr_hf.data.build import build_bundle
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from detr_hf.recipe import Data
from detr_hf.report.drawn_segments import DrawnSegments
from detr_hf.run_folder import SEGMENTS_FILE, RunFolder
from tests.factories import write_coco_panoptic

Asked = list[int]


class Case:
    """A run with a ``best/`` and a split of two images, and a model that notes what it was asked."""

    def __init__(self, folder: Path) -> None:
        split = write_coco_panoptic(folder / "data", count=2)
        data = build_bundle(Data(train=split, validation=split), folder / "built")
        self.rows, self.labels = data.dataset["validation"], data.labels
        self.run, self.asked = RunFolder(folder / "run"), Asked()
        self.run.best.mkdir(parents=True)
        (self.run.best / "metrics.json").write_text('{"epoch": 1}')

    def predict(self, row: int) -> PanopticPrediction:
        self.asked.append(row)
        id_map = np.zeros((self.rows[row]["height"], self.rows[row]["width"]), np.int32)
        id_map[2:9, 3:8] = 70_000  # more than one byte of an id
        image_id = self.rows[row]["image_id"]
        none = Detections(
            image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        )
        return PanopticPrediction(image_id, id_map, [Segment(70_000, 1, 0.75)], none)

    def opened(self, labels: LabelMap | None = None) -> DrawnSegments:
        return DrawnSegments(self.run, labels or self.labels, GroundTruth(self.rows), self.predict)


@pytest.fixture
def case(tmp_path: Path, own_cache: Path) -> Case:
    case = Case(tmp_path)
    drawn = case.opened()
    for image_id in case.rows["image_id"]:
        drawn(image_id)
    drawn.save()
    assert case.asked == [0, 1]
    return case


def test_the_next_report_asks_no_model(case: Case) -> None:
    first = case.rows["image_id"][0]
    found = case.opened()(first)
    assert isinstance(found, PanopticPrediction) and case.asked == [0, 1]
    assert found.segments == [Segment(70_000, 1, 0.75)] and found.image_id == first
    expected = case.predict(0).id_map
    np.testing.assert_array_equal(found.id_map, expected)


def test_another_evaluation_or_fewer_classes_ask_it_again(case: Case) -> None:
    first = case.rows["image_id"][0]
    case.opened(LabelMap.from_names(["one"]))(first)
    assert case.asked == [0, 1, 0], "class 1 is none of these labels"
    (case.run.best / "metrics.json").write_text('{"epoch": 2}')
    case.opened()(first)
    assert case.asked == [0, 1, 0, 0]


@pytest.mark.parametrize("damage", ["cut", "png", "size"])
def test_what_cannot_be_read_or_does_not_fit_is_asked_again(case: Case, damage: str) -> None:
    path, first = case.run.path / SEGMENTS_FILE, case.rows["image_id"][0]
    arrays = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        other = np.zeros(9, np.uint8) if damage == "png" else _png_of_another_size()
        save_file({**arrays, f"{first}.png": other}, path)
    case.opened()(first)
    assert case.asked == [0, 1, 0]


def _png_of_another_size() -> np.ndarray:
    png = io.BytesIO()
    Image.new("RGB", (3, 2)).save(png, "PNG")
    return np.frombuffer(png.getvalue(), np.uint8)
