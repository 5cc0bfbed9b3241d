"""A picture that breaks between the evaluation and the report."""

from __future__ import annotations

from pathlib import Path

from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.rows import TableRows
from detr_hf.loading.transforms import build_transforms
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.prepare.build import build_bundle
from detr_hf.recipe import Data
from detr_hf.report.pictures import draw_all
from detr_hf.report.quality import ImageQuality
from detr_hf.report.subject import Subject
from tests.factories import write_coco_detection
from tests.report.report_factories import image_boxes


def test_a_broken_picture_is_told_in_its_place(tmp_path: Path, own_cache: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=3, empty=0)
    data = build_bundle(Data(train=split, validation=split), tmp_path / "run")
    rows = data.dataset["validation"]
    entry = {"name": "ShortEdgeResize", "short_edges": [64], "max_long_edge": 128}
    resize = build_transforms([entry], "here")
    results = PerImageResults(
        [ImageEntry(i, 0, image_boxes([(0, 0, 0.9)], [(0, 0)])) for i in rows["image_id"]]
    )
    parts = {
        "per_image": results,
        "images": DetectionDataset(TableRows(rows), resize, 0),
        "truth": GroundTruth(rows),
    }
    subject = Subject(tmp_path, data.labels, 0.5, 0.5, **parts)
    (tmp_path / "data" / "images" / "001.jpg").write_text("no picture")
    drawn = draw_all(subject, [ImageQuality(i, 0.5, 1, 0, 0) for i in (*rows["image_id"], 99)], 0.5)
    assert [one.prediction is not None for one in drawn] == [True, False, True, False]
    assert "not an image" in drawn[1].fault and str(tmp_path) not in drawn[1].fault
    assert drawn[0].file_name == "000.jpg" and "no such image" in drawn[3].fault
