"""Panoptic, segmentation and recognition quality as a metric.

Source: Kirillov et al. 2019 (Panoptic Segmentation), eq. 1 and 2, with the void and crowd rules of
``panopticapi.evaluation``, whose numbers these are to rounding.
"""

from __future__ import annotations

from typing import Any, Literal

import datasets
import evaluate

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.metrics import official_pq
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image import PerImageMetric, Row, check_classes, digest
from detr_hf.metrics.pq_counts import ClassCounts, count_image, read_row, sum_counts

_DESCRIPTION = (
    "Panoptic quality (PQ), segmentation quality (SQ) and recognition quality (RQ), overall and per class."
)
_INPUTS = """
Rows are images. ``predictions``: image_id, id_map [H, W] (0 is void), segments [{id, category_id}].
``references``: image_id, id_map [H, W] of the same size, segments [{id, category_id, iscrowd}].
"""


class PanopticQuality(PerImageMetric):
    """PQ, SQ, RQ for all classes, things and stuff; see ``PerImageMetric`` for the ways of use.

    Of an image only the counts of its classes are kept, never a map. The matching rules stand in
    ``pq_counts``.

    ``compute`` returns numbers from 0 to 1, averaged over the n classes that occur in ground truth or
    predictions; None where there is none::

        {"All": {"pq", "sq", "rq", "n"}, "Things": {...}, "Stuff": {...},
         "per_class": {name: {"pq", "sq", "rq", "tp", "fp", "fn"}}}
    """

    def __init__(self, labels: LabelMap, backend: Literal["ours", "panopticapi"] = "ours") -> None:
        """``backend="panopticapi"`` runs the official code, slower, with the same result.

        Raises:
            UserError: an unknown backend, or panopticapi is not installed.
        """
        if backend not in ("ours", "panopticapi"):
            raise UserError(
                f"unknown backend {backend!r} of the panoptic quality; use 'ours' or 'panopticapi'"
            )
        if backend == "panopticapi":
            official_pq.require_panopticapi()
        self.backend = backend
        super().__init__(labels)

    def _info(self) -> evaluate.MetricInfo:
        id_map = datasets.List(datasets.List(datasets.Value("int32")))
        segment = {"id": datasets.Value("int64"), "category_id": datasets.Value("int64")}
        crowd = {"iscrowd": datasets.Value("bool")}
        row = {"image_id": datasets.Value("int64"), "id_map": id_map}
        features = {
            "predictions": {**row, "segments": datasets.List(segment)},
            "references": {**row, "segments": datasets.List({**segment, **crowd})},
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Kirillov et al., Panoptic Segmentation, CVPR 2019",
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _reduce(self, image_id: int, prediction: Row, reference: Row) -> ClassCounts:
        found = read_row(prediction, f"prediction for image {image_id}")
        truth = read_row(reference, f"ground truth of image {image_id}")
        check_classes(found.classes, self.labels, f"prediction for image {image_id}")
        check_classes(truth.classes, self.labels, f"ground truth of image {image_id}")
        if found.id_map.shape != truth.id_map.shape:
            raise UserError(
                f"image {image_id}: the predicted id map is {list(found.id_map.shape)} pixels and the true "
                f"one {list(truth.id_map.shape)}; predict in the size of the original image"
            )
        if (found.areas == 0).any():
            empty = found.ids[found.areas == 0].tolist()
            raise UserError(f"prediction for image {image_id}: segments {empty} have no pixel in the id map")
        if self.backend == "panopticapi":
            return official_pq.count_image_officially(image_id, truth, found, self.labels)
        return count_image(truth, found)

    def _truth_digest(self, reference: Row) -> int:
        return digest(reference["id_map"], [(s["id"], s["category_id"]) for s in reference["segments"]])

    def _score(self, entries: list[ImageEntry]) -> dict[str, Any]:
        total = sum_counts([entry.content for entry in entries], self.labels.num_classes)
        groups = {"All": None, "Things": True, "Stuff": False}
        result: dict[str, Any] = {name: self._average(total, things) for name, things in groups.items()}
        result["per_class"] = {
            category.name: _class_row(total, category.id) for category in self.labels.categories
        }
        return result

    def _average(self, total: ClassCounts, things: bool | None) -> dict[str, Any]:
        """Mean over the seen classes of a group: all (None), things (True) or stuff (False)."""
        group = [c.id for c in self.labels.categories if things is None or c.is_thing == things]
        seen = [row for row in (_class_row(total, label) for label in group) if row["pq"] is not None]
        if not seen:
            return {"pq": None, "sq": None, "rq": None, "n": 0}
        if self.backend == "panopticapi":
            return official_pq.average_officially(total, self.labels, things)
        means = {key: sum(row[key] for row in seen) / len(seen) for key in ("pq", "sq", "rq")}
        return {**means, "n": len(seen)}


def _class_row(total: ClassCounts, label: int) -> dict[str, Any]:
    """Eq. 1 and 2 for one class, with the counts; qualities are None for a class that never occurs."""
    tp, fp, fn = total.counts[label].tolist()
    counts = {"tp": tp, "fp": fp, "fn": fn}
    if tp + fp + fn == 0:
        return {"pq": None, "sq": None, "rq": None, **counts}
    iou, weight = float(total.iou[label]), tp + 0.5 * fp + 0.5 * fn
    return {"pq": iou / weight, "sq": iou / tp if tp else 0.0, "rq": tp / weight, **counts}
