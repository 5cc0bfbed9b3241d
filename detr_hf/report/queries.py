"""How many of a model's queries are ever used, for which classes, and where in the images they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.labels import LabelMap
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.matching import above, match
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.report.charts import Axis, Chart, Mark, mark_chart


def query_numbers(
    results: PerImageResults,
    labels: LabelMap,
    score_threshold: float,
    sizes_hw: Mapping[int, tuple[int, int]],
    training_objects: int | None = None,
) -> dict[str, Any] | None:
    """What each query of the model found in a validation split.

    Args:
        results: of the split.
        labels: names the classes.
        score_threshold: above which a query is sure of a box.
        sizes_hw: of the images, by id; of one that is not there, no place is known.
        training_objects: the most in one training image; None where it is not known.

    Returns:
        "num_queries" and "score_threshold"; "sure" and "right": how many queries ever gave a box above the
        threshold, and a right one; "most_found", "most_objects": in one image, the latter with
        ``training_objects``; "enough": how many queries would be, where that is fewer, else None;
        "classes": by name, how many queries were ever right about them; "each": query, its numbers of sure
        and of right boxes, and the mean center of the right ones (of all, where none is) as shares of width
        and height. None where the results do not tell of queries.
    """
    if results.num_queries is None or any(entry.content.queries is None for entry in results.boxes):
        return None
    use = _used(results.boxes, labels.num_classes, score_threshold, sizes_hw)
    used = int((use.right.sum(1) > 0).sum())
    most_objects = max(use.most_objects, training_objects or 0)
    enough = max(used, most_objects)
    columns = (use.queries.tolist(), use.sure.tolist(), use.right.sum(1).tolist(), *use.places)
    return {
        "num_queries": results.num_queries,
        "score_threshold": score_threshold,
        "sure": int((use.sure > 0).sum()),
        "right": used,
        "most_found": use.most_found,
        "most_objects": most_objects,
        "training_is_counted": training_objects is not None,
        "enough": enough if used and enough < results.num_queries else None,
        "classes": dict(zip(labels.names, (use.right > 0).sum(0).tolist(), strict=True)),
        "each": [
            {"query": query, "sure": sure, "right": right, "center": _mean(of_right) or _mean(of_all)}
            for query, sure, right, of_all, of_right in zip(*columns, strict=True)
        ],
    }


@dataclass
class _Use:
    """Of the Q queries that gave any box: sure ``[Q]`` and right ``[Q, C]`` ones; of all and of right boxes
    the sums of center x, center y, and 1, ``[2, Q, 3]``."""

    queries: NDArray[np.int64]
    sure: NDArray[np.int64]
    right: NDArray[np.int64]
    places: NDArray[np.float64]
    most_found: int = 0
    most_objects: int = 0


def _used(
    entries: Sequence[ImageEntry],
    num_classes: int,
    score_threshold: float,
    sizes_hw: Mapping[int, tuple[int, int]],
) -> _Use:
    every = [np.zeros(0, np.int64), *(entry.content.queries for entry in entries)]
    queries = np.unique(np.concatenate(every))
    count = len(queries)
    use = _Use(
        queries, np.zeros(count, np.int64), np.zeros((count, num_classes), np.int64), np.zeros((2, count, 3))
    )
    for entry in entries:
        image = above(entry.content, score_threshold)
        matches = match(image)
        hit = matches.hit
        of_all, of_sure = _places(queries, entry.content), _places(queries, image)
        of_right, boxes = of_sure[matches.order][hit], image.boxes[matches.order][hit]
        np.add.at(use.sure, of_sure, 1)
        np.add.at(use.right, (of_right, matches.labels[hit]), 1)
        use.most_found = max(use.most_found, int(hit.sum()))
        use.most_objects = max(use.most_objects, int((~image.truth_crowd).sum()))
        if (size_hw := sizes_hw.get(entry.image_id)) is not None:
            np.add.at(use.places[0], of_all, _centers(entry.content.boxes, size_hw))
            np.add.at(use.places[1], of_right, _centers(boxes, size_hw))
    return use


def query_chart(numbers: Mapping[str, Any]) -> Chart:
    """A mark for each query at its mean box center, as large as it is often right."""
    most = max([1, *(one["right"] for one in numbers["each"])])
    marks = [
        Mark(
            f"query {one['query']}: {one['right']} right, {one['sure']} above the threshold",
            x=one["center"][0],
            y=one["center"][1],
            size=one["right"] / most,
        )
        for one in numbers["each"]
        if one["center"] is not None
    ]
    return mark_chart(
        "Where the queries look",
        marks,
        Axis("mean box center, share of the width", 0, 1),
        Axis("share of the height", 1, 0),  # downward, as in the image
        "a mark for each query, its area the number of right boxes; gray: none",
    )


def _places(queries: NDArray[np.int64], image: ImageBoxes) -> NDArray[np.int64]:
    assert image.queries is not None
    return np.searchsorted(queries, image.queries)


def _centers(boxes_xywh: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """``[N, 3]``: x and y as shares of width and height, and 1."""
    centers = (boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2) / np.array([size_hw[1], size_hw[0]])
    return np.concatenate([centers, np.ones((len(centers), 1))], 1)


def _mean(place: NDArray[np.float64]) -> list[float] | None:
    return [round(float(total / place[2]), 4) for total in place[:2]] if place[2] else None
