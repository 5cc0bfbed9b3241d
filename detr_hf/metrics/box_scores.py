"""Box average precision and recall by pycocotools, without the libraries that a metric needs.

Source: Lin et al. 2014 (Microsoft COCO) and ``pycocotools.cocoeval``, whose numbers these are.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_hf.metrics.entries import ImageBoxes, ImageEntry

ALL, SMALL, MEDIUM, LARGE = range(4)  # pycocotools' areas: all, < 32^2, 32^2..96^2, > 96^2 pixels
FIRST_1, FIRST_10, FIRST_100 = range(3)  # its limits on detections per image, best first
IOU_50, IOU_75 = 0, 5  # of its ten IoU thresholds 0.50, 0.55, ..., 0.95


def count_objects(entries: list[ImageEntry], num_classes: int) -> NDArray[np.int64]:
    """Objects of every class [C] in the ground truth, crowds left out."""
    labels = [entry.content.truth_labels[~entry.content.truth_crowd] for entry in entries]
    return np.bincount(np.concatenate(labels), minlength=num_classes)


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
