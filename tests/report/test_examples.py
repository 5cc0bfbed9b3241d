"""An image that breaks between the evaluation and the report."""

from __future__ import annotations

from pathlib import Path

from detr_hf.data.build import build_bundle
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.recipe import Data
from detr_hf.report.examples import draw_examples
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.quality import ImageQuality
from tests.factories import write_coco_detection
from tests.report.report_factories import image_boxes


def test_a_broken_image_is_told_in_its_place(tmp_path: Path, own_cache: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=3, empty=0)
    data = build_bundle(Data(train=split, validation=split), tmp_path / "run")
    rows = data.dataset["validation"]
    results = PerImageResults(
        [ImageEntry(i, 0, image_boxes([(0, 0, 0.9)], [(0, 0)])) for i in rows["image_id"]]
    )
    inputs = ReportInputs(tmp_path, data.labels, 0.5, 0.5, per_image=results, truth=GroundTruth(rows))
    (tmp_path / "data" / "images" / "001.jpg").write_text("no image")
    drawn = draw_examples(inputs, [ImageQuality(i, 0.5, 1, 0, 0) for i in (*rows["image_id"], 99)], 0.5)
    assert [one.prediction is not None for one in drawn] == [True, False, True, False]
    assert "not an image" in drawn[1].fault and str(tmp_path) not in drawn[1].fault
    assert drawn[0].file_name == "000.jpg" and "no such image" in drawn[3].fault
