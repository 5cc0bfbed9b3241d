"""COCO box average precision and recall, computed by pycocotools.

Source: Lin et al. 2014 (Microsoft COCO) and ``pycocotools.cocoeval``, whose numbers these are.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_xyxy_to_xywh
from detr_hf.metrics.per_image import ImageEntry, PerImageMetric, Row, check_classes, digest

ALL, SMALL, MEDIUM, LARGE = range(4)  # pycocotools' areas: all, < 32^2, 32^2..96^2, > 96^2 pixels
FIRST_1, FIRST_10, FIRST_100 = range(3)  # its limits on detections per image, best first
IOU_50, IOU_75 = 0, 5  # of its ten IoU thresholds 0.50, 0.55, ..., 0.95

_DESCRIPTION = "COCO average precision and recall of boxes (IoU 0.50 to 0.95), overall and per class."
_INPUTS = """
Rows are images. ``predictions``: image_id, boxes_xyxy_px [N, 4], scores [N], labels [N]. ``references``:
image_id, boxes_xyxy_px [M, 4], labels [M], areas [M] (square pixels, for the small/medium/large split),
iscrowd [M].
"""


@dataclass(frozen=True)
class ImageBoxes:
    """One image's detections and ground truth, boxes as xywh in pixels."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    truth_boxes: NDArray[np.float64]
    truth_labels: NDArray[np.int64]
    truth_areas: NDArray[np.float64]
    truth_crowd: NDArray[np.bool_]


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
        return ImageBoxes(found, scores, labels, truth, truth_labels, areas, crowd)

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


def count_objects(entries: list[ImageEntry], num_classes: int) -> NDArray[np.int64]:
    """Objects of every class [C] in the ground truth, crowds left out."""
    labels = [entry.content.truth_labels[~entry.content.truth_crowd] for entry in entries]
    return np.bincount(np.concatenate(labels), minlength=num_classes)


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


def mean_of_filled(values: NDArray[np.float64]) -> float | None:
    """Mean over what pycocotools filled in; None where it left only its -1 for 'no such object'."""
    filled = values[values > -1]
    return float(filled.mean()) if filled.size else None


def score_boxes(entries: list[ImageEntry], num_classes: int) -> COCOeval:
    """Run pycocotools over entries whose content is ``ImageBoxes``.

    Its ``eval`` holds "precision" [10 IoUs, 101 recalls, C, 4 areas, 3 limits] and "recall" [10, C, 4, 3],
    with -1 where there is no such object.
    """
    truth, found = [], []
    for entry in entries:
        image: ImageBoxes = entry.content
        for box, label, area, crowd in zip(
            image.truth_boxes.tolist(),
            image.truth_labels.tolist(),
            image.truth_areas,
            image.truth_crowd,
            strict=True,
        ):
            truth.append(_annotation(entry.image_id, label, box, float(area), iscrowd=int(crowd)))
        for box, label, score in zip(image.boxes.tolist(), image.labels.tolist(), image.scores, strict=True):
            found.append(
                _annotation(entry.image_id, label, box, box[2] * box[3], score=float(score), iscrowd=0)
            )
    image_ids = [entry.image_id for entry in entries]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        scoring = COCOeval(
            _as_coco(truth, image_ids, num_classes), _as_coco(found, image_ids, num_classes), "bbox"
        )
        scoring.evaluate()
        scoring.accumulate()
    return scoring


def _annotation(image_id: int, label: int, box: list[float], area: float, **more: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": label, "bbox": box, "area": area, **more}


def _as_coco(annotations: list[dict[str, Any]], image_ids: list[int], num_classes: int) -> COCO:
    """An indexed COCO set. Ids start at 1, for 0 reads as 'unmatched'; ``loadRes``, which fails on an empty
    list, is not needed: it adds to detections just the area, the id and iscrowd that they have here."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": [{**annotation, "id": i} for i, annotation in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco
