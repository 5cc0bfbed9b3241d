"""What was found as HTML: every name escaped, whoever chose it."""

from __future__ import annotations

import re
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from detr_hf.app import tables
from detr_hf.app.viewer import Viewing
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment

EVIL = "<script>alert(1)</script>"
LABELS = LabelMap.from_names(["crane", EVIL], stuff=["sky"])


def found(scores: list[float], labels: list[int]) -> Detections:
    boxes = np.array([[1, 2, 30, 40]] * len(scores), np.float32).reshape(-1, 4)
    return Detections(0, boxes, np.array(scores, np.float32), np.array(labels, np.int64))


def viewing(detections: Detections, name: str = "yard.jpg", size_hw: tuple[int, int] = (100, 200)) -> Viewing:
    image_file = np.zeros((100, 200, 3), np.uint8)
    return Viewing(name, size_hw, image_file, image_file, detections, cast("TemporaryDirectory[str]", None))


def table_of(shown: Viewing, prediction: Detections | PanopticPrediction) -> str:
    return tables.table(tables.record_of(shown, prediction, LABELS, 0.5), LABELS)


def test_objects_come_with_score_and_box() -> None:
    detections = found([0.9, 0.4], [0, 1])
    html = table_of(viewing(detections), detections.above(0.5))
    assert "crane" in html and "script" not in html and html.count("<tr>") == 2
    assert re.findall(r'<td class="n">([\d.]+)</td>', html) == ["0.90", "1", "2", "30", "40"]


def test_segments_come_with_area_and_share_things_first() -> None:
    id_map = np.zeros((100, 200), np.int32)
    id_map[:50] = 1
    id_map[60:70, :20] = 2
    detections = found([0.9, 0.8], [2, 0])
    prediction = PanopticPrediction(0, id_map, [Segment(1, 2, 0.95), Segment(2, 0, 0.7)], detections)
    html = table_of(viewing(detections), prediction)
    assert html.index("crane") < html.index("sky")
    assert "10,000" in html and "50.0%" in html and "200" in html and "1.0%" in html
    assert "2 segments above 0.50" in tables.summary(viewing(detections), prediction, 0.5)


def test_names_are_escaped_everywhere() -> None:
    detections = found([0.9], [1])
    shown = viewing(detections, f"{EVIL}.jpg")
    everything = table_of(shown, detections) + tables.legend(LABELS)
    everything += tables.summary(shown, detections, 0.5) + tables.status(EVIL, "bad")
    assert EVIL not in everything and everything.count("&lt;script&gt;") == 4


def test_nothing_found_is_said() -> None:
    detections = found([0.3], [0])
    assert "surer than the threshold" in tables.table(
        tables.record_of(viewing(detections), detections, LABELS, 0.5), LABELS
    )
    assert "no objects above 0.50" in tables.summary(viewing(detections), detections, 0.5)
    one = found([0.9], [0])
    assert "1 object above" in tables.summary(viewing(one), one, 0.5)


def test_a_long_table_is_cut_and_says_so() -> None:
    detections = found([0.9] * 300, [0] * 300)
    html = table_of(viewing(detections), detections)
    assert html.count("<tr>") == 1 + tables.MOST_ROWS and "100 more" in html


def test_the_record_has_the_image_and_the_threshold() -> None:
    detections = found([0.9], [0])
    record = tables.record_of(viewing(detections), detections, LABELS, 0.5)
    assert record["file"] == "yard.jpg" and (record["width"], record["height"]) == (200, 100)
    assert record["score_threshold"] == 0.5
    assert record["objects"][0]["label"] == "crane"


def test_the_legend_has_a_color_for_every_class() -> None:
    html = tables.legend(LABELS)
    assert html.count("<li>") == 3 and html.index("crane") < html.index("Stuff") < html.index("sky")
    red, green, blue = LABELS.color(0)
    assert f"rgb({red},{green},{blue})" in html
    assert "Stuff" not in tables.legend(LabelMap.from_names(["crane"]))


def test_numbers_are_of_the_image_as_it_was_given() -> None:
    """It was looked at at a third of its width and half of its height."""
    id_map = np.zeros((100, 200), np.int32)
    id_map[:50] = 1
    detections = found([0.9], [0])
    prediction = PanopticPrediction(0, id_map, [Segment(1, 2, 0.95)], detections)
    record = tables.record_of(viewing(detections, size_hw=(200, 600)), prediction, LABELS, 0.5)
    assert record["objects"][0]["box_xyxy_px"] == [3, 4, 90, 80]
    assert record["segments"][0]["area_px"] == 60_000
    assert "50.0%" in tables.table(record, LABELS)
