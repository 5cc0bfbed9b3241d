"""COCO box average precision and recall as an ``evaluate`` metric."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_xyxy_to_xywh
from detr_hf.metrics.box_scores import (
    ALL,
    FIRST_1,
    FIRST_10,
    FIRST_100,
    IOU_50,
    IOU_75,
    LARGE,
    MEDIUM,
    SMALL,
    count_objects,
    mean_of_filled,
    score_boxes,
)
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.per_image import PerImageMetric, Row, check_classes, digest

_DESCRIPTION = "COCO average precision and recall of boxes (IoU 0.50 to 0.95), overall and per class."
_INPUTS = """
Rows are images. ``predictions``: image_id, boxes_xyxy_px [N, 4], scores [N], labels [N], and, where it is
known, queries [N], which is kept and not scored. ``references``: image_id, boxes_xyxy_px [M, 4], labels [M],
areas [M] (square pixels, for the small/medium/large split), iscrowd [M].
"""


class CocoAP(PerImageMetric):
    """Box AP and AR with at most 100 detections an image; see ``PerImageMetric`` for the ways of use.

    Ground truth marked ``iscrowd`` never counts as an object, and detections inside it never count as false.

    ``compute`` returns::

        {"AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR",
         "per_class": {name: {"AP", "AP50", "AR", "objects"}}}

    as numbers from 0 to 1; None where there is no object to find (pycocotools says -1).
    """

    def _info(self) -> evaluate.MetricInfo:
        boxes = datasets.List(datasets.List(datasets.Value("float64"), length=4))
        shared = {"image_id": datasets.Value("int64"), "boxes_xyxy_px": boxes}
        labels, floats = datasets.List(datasets.Value("int64")), datasets.List(datasets.Value("float64"))
        crowd = datasets.List(datasets.Value("bool"))
        features = {
            "predictions": {**shared, "scores": floats, "labels": labels},
            "references": {**shared, "labels": labels, "areas": floats, "iscrowd": crowd},
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _reduce(self, image_id: int, prediction: Row, reference: Row) -> ImageBoxes:
        where = f"image {image_id}"
        found = _read_boxes(prediction, f"prediction for {where}")
        scores = _column(prediction, "scores", len(found), np.float64, f"prediction for {where}")
        labels = _column(prediction, "labels", len(found), np.int64, f"prediction for {where}")
        truth = _read_boxes(reference, f"ground truth of {where}")
        truth_labels = _column(reference, "labels", len(truth), np.int64, f"ground truth of {where}")
        areas = _column(reference, "areas", len(truth), np.float64, f"ground truth of {where}")
        crowd = _column(reference, "iscrowd", len(truth), np.bool_, f"ground truth of {where}")
        check_classes(labels, self.labels, f"prediction for {where}")
        check_classes(truth_labels, self.labels, f"ground truth of {where}")
        queries = None
        if prediction.get("queries") is not None:
            queries = _column(prediction, "queries", len(found), np.int64, f"prediction for {where}")
        return ImageBoxes(found, scores, labels, truth, truth_labels, areas, crowd, queries)

    def _truth_digest(self, reference: Row) -> int:
        return digest(*(reference[key] for key in ("boxes_xyxy_px", "labels", "areas", "iscrowd")))

    def _score(self, entries: list[ImageEntry]) -> dict[str, Any]:
        scored = score_boxes(entries, self.labels.num_classes).eval
        precision, recall = scored["precision"], scored["recall"]
        result: dict[str, Any] = {
            "AP": mean_of_filled(precision[:, :, :, ALL, FIRST_100]),
            "AP50": mean_of_filled(precision[IOU_50, :, :, ALL, FIRST_100]),
            "AP75": mean_of_filled(precision[IOU_75, :, :, ALL, FIRST_100]),
            "AP_small": mean_of_filled(precision[:, :, :, SMALL, FIRST_100]),
            "AP_medium": mean_of_filled(precision[:, :, :, MEDIUM, FIRST_100]),
            "AP_large": mean_of_filled(precision[:, :, :, LARGE, FIRST_100]),
            "AR1": mean_of_filled(recall[:, :, ALL, FIRST_1]),
            "AR10": mean_of_filled(recall[:, :, ALL, FIRST_10]),
            "AR": mean_of_filled(recall[:, :, ALL, FIRST_100]),
        }
        objects = count_objects(entries, self.labels.num_classes)
        result["per_class"] = {
            category.name: {
                "AP": mean_of_filled(precision[:, :, category.id, ALL, FIRST_100]),
                "AP50": mean_of_filled(precision[IOU_50, :, category.id, ALL, FIRST_100]),
                "AR": mean_of_filled(recall[:, category.id, ALL, FIRST_100]),
                "objects": int(objects[category.id]),
            }
            for category in self.labels.categories
        }
        return result


def _read_boxes(row: Row, what: str) -> NDArray[np.float64]:
    """The row's boxes as xywh [N, 4], finite and not inside out."""
    boxes = np.asarray(row["boxes_xyxy_px"], dtype=np.float64).reshape(-1, 4)
    _check_finite(boxes, "a box", what)
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise UserError(f"{what}: a box has its right edge left of its left one, or its bottom above its top")
    return np.asarray(boxes_xyxy_to_xywh(boxes), np.float64)


def _column(row: Row, key: str, length: int, dtype: type, what: str) -> NDArray[Any]:
    values = np.asarray(row[key]).reshape(-1)
    if len(values) != length:
        raise UserError(f"{what}: {length} boxes but {len(values)} {key}")
    values = values.astype(dtype)
    _check_finite(values, key, what)
    return values


def _check_finite(values: NDArray[Any], name: str, what: str) -> None:
    if not np.isfinite(values).all():
        raise UserError(
            f"{what}: NaN or infinity in {name}; a run whose weights are not finite cannot be scored"
        )
