"""What a task predicts for one image, in pixels of the original image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.labels import LabelMap


@dataclass
class Detections:
    """N objects found in one image.

    Attributes:
        image_id: the dataset's id of the image.
        boxes_xyxy_px: ``float32 [N, 4]`` corners in original pixels, inside the image.
        scores: ``float32 [N]`` class probabilities, best first.
        labels: ``int64 [N]`` class ids, 0 to C-1.
        queries: ``int64 [N]`` which query of the decoder gave each, 0 to Q-1; where scores are sigmoids, one
            may give several. None where no single query did, as for merged tiles.
    """

    image_id: int
    boxes_xyxy_px: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    queries: NDArray[np.int64] | None = None

    @property
    def detections(self) -> Detections:
        """The boxes of a prediction of either stage; of stage 1 these are all there is."""
        return self

    def above(self, score_threshold: float) -> Detections:
        """Only the objects whose score is higher than ``score_threshold`` (0 to 1)."""
        keep = self.scores > score_threshold
        queries = None if self.queries is None else self.queries[keep]
        return Detections(
            self.image_id, self.boxes_xyxy_px[keep], self.scores[keep], self.labels[keep], queries
        )

    def to_coco(self, labels: LabelMap) -> list[dict[str, Any]]:
        """Entries of COCO's results list, with boxes as (x, y, width, height) and the ids of the source."""
        rows = zip(self.labels.tolist(), boxes_xyxy_to_xywh(self.boxes_xyxy_px), self.scores, strict=True)
        return [_coco_entry(self.image_id, labels, label, box, score) for label, box, score in rows]

    def to_supervision(self, labels: LabelMap | None = None) -> Any:
        """A ``supervision.Detections``; with ``labels`` it carries the names as ``class_name``.

        Raises:
            UserError: supervision is not installed.
        """
        return _supervised(self.boxes_xyxy_px, self.scores, self.labels, None, labels)


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic prediction: its id in the id map, its class, its query's score (0 to 1)."""

    id: int
    category_id: int
    score: float


@dataclass
class PanopticPrediction:
    """One image cut into segments.

    Attributes:
        image_id: the dataset's id of the image.
        id_map: ``int32 [H, W]`` in original pixels; 0 is void, otherwise the id of exactly one of
            ``segments``.
        segments: every segment has at least one pixel; ids are unique.
        detections: all that was ranked as boxes, so that a segmenter can be scored as a detector as well.
    """

    image_id: int
    id_map: NDArray[np.int32]
    segments: list[Segment]
    detections: Detections

    def masks(self) -> NDArray[np.bool_]:
        """``bool [S, H, W]``, the pixels of each segment, in the order of ``segments``."""
        return self._ids()[:, None, None] == self.id_map

    def to_coco(self, labels: LabelMap) -> list[dict[str, Any]]:
        """Entries of COCO's results list, one a segment: tight box, area and run lengths of its mask."""
        boxes, areas = boxes_and_areas_of_segments(self.id_map, self._ids())
        entries = []
        for segment, box, area in zip(self.segments, boxes_xyxy_to_xywh(boxes), areas.tolist(), strict=True):
            entry = _coco_entry(self.image_id, labels, segment.category_id, box, segment.score)
            mask = np.asfortranarray(self.id_map == segment.id, np.uint8)
            runs = coco_mask.encode(mask)
            entry["segmentation"] = {
                "size": list(self.id_map.shape),
                "counts": runs["counts"].decode("ascii"),
            }
            entries.append({**entry, "area": area})
        return entries

    def to_supervision(self, labels: LabelMap | None = None) -> Any:
        """The segments as a ``supervision.Detections`` with masks; see ``Detections.to_supervision``."""
        boxes, _ = boxes_and_areas_of_segments(self.id_map, self._ids())
        scores = np.array([segment.score for segment in self.segments], np.float32)
        classes = np.array([segment.category_id for segment in self.segments], np.int64)
        return _supervised(boxes, scores, classes, self.masks(), labels)

    def _ids(self) -> NDArray[np.int64]:
        return np.array([segment.id for segment in self.segments], np.int64)


Prediction = Detections | PanopticPrediction
"""What a model of either stage gives for one image."""


@dataclass
class QueryView:
    """What one query of the decoder saw in an image of H x W pixels.

    Attributes:
        query: its number, 0 to Q-1.
        label: class id.
        score: class probability.
        box_xyxy_px: ``float32 [4]`` in pixels of the image.
        mask: ``float32 [H, W]`` probabilities; None in stage 1.
        attention: ``float32 [H, W]``, the cross attention of the last decoder layer, mean over the heads,
            scaled so that its largest value is 1; None where the family samples points instead.
        points_xyw: ``float32 [P, 3]``, x and y in pixels and weight of the points that the last decoder layer
            samples, scaled so that the largest weight is 1; None where it attends to the whole image.
    """

    query: int
    label: int
    score: float
    box_xyxy_px: NDArray[np.float32]
    mask: NDArray[np.float32] | None
    attention: NDArray[np.float32] | None = None
    points_xyw: NDArray[np.float32] | None = None


@dataclass
class Explanation:
    """An image ``uint8 [H, W, 3]``, what was found in it, and its kept queries, the surest first."""

    image: NDArray[np.uint8]
    prediction: Prediction
    queries: list[QueryView]


def _coco_entry(
    image_id: int, labels: LabelMap, label: int, box_xywh_px: NDArray[np.float32], score: float
) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": labels.categories[label].source_id,
        "bbox": box_xywh_px.astype(float).round(2).tolist(),
        "score": round(float(score), 6),
    }


def _supervised(
    boxes_xyxy_px: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    masks: NDArray[np.bool_] | None,
    labels: LabelMap | None,
) -> Any:
    try:
        import supervision
    except ImportError as error:
        raise UserError("supervision is not installed; get it with: pip install 'detr-hf[viz]'") from error
    names: dict[str, Any] = {} if labels is None else {"class_name": np.array(labels.names)[classes]}
    return supervision.Detections(
        xyxy=boxes_xyxy_px, mask=masks, confidence=scores, class_id=classes, data=names
    )
