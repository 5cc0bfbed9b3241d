"""The official panopticapi code behind ``PanopticQuality(backend="panopticapi")``.

It reads PNG files, so every image is written to a temporary folder, counted there and forgotten. Of its
entry points the single-process one is used: ``pq_compute`` forks one process per core, which a process that
holds a GPU must not.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import LabelMap
from detr_hf.metrics.pq_counts import ClassCounts, PanopticRow

INSTALL = "pip install --no-deps git+https://github.com/cocodataset/panopticapi"


def require_panopticapi() -> None:
    """Raises ``UserError`` with the way to install panopticapi when it cannot be imported."""
    try:
        import panopticapi.evaluation  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the panopticapi backend of the panoptic quality needs panopticapi ({error}); install it with "
            f"`{INSTALL}`, or use the backend 'ours', which gives the same numbers"
        ) from error


def count_image_officially(
    image_id: int, truth: PanopticRow, found: PanopticRow, labels: LabelMap
) -> ClassCounts:
    """What ``pq_counts.count_image`` does, by ``panopticapi.evaluation.pq_compute_single_core``."""
    from panopticapi.evaluation import pq_compute_single_core

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        pair = tuple(
            _written(row, image_id, Path(folder), name) for row, name in ((truth, "truth"), (found, "found"))
        )
        stat = pq_compute_single_core(0, [pair], folder, folder, _categories(labels))
    seen = [stat[label] for label in sorted(stat.pq_per_cat)]
    return ClassCounts(
        np.array(sorted(stat.pq_per_cat), np.int64),
        np.array([(s.tp, s.fp, s.fn) for s in seen], np.int64).reshape(-1, 3),
        np.array([s.iou for s in seen], np.float64),
    )


def average_officially(total: ClassCounts, labels: LabelMap, things: bool | None) -> dict[str, Any]:
    """PQ, SQ, RQ and n by ``PQStat.pq_average``; at least one class of the group must have been seen."""
    from panopticapi.evaluation import PQStat

    stat = PQStat()
    for label, (tp, fp, fn), iou in zip(
        total.classes.tolist(), total.counts.tolist(), total.iou, strict=True
    ):
        stat[label].tp, stat[label].fp, stat[label].fn, stat[label].iou = tp, fp, fn, float(iou)
    return stat.pq_average(_categories(labels), isthing=things)[0]


def _written(row: PanopticRow, image_id: int, folder: Path, name: str) -> dict[str, Any]:
    """Write the id map as a PNG; returns its annotation with areas counted from the pixels."""
    Image.fromarray(id_to_rgb(row.id_map)).save(folder / f"{name}.png")
    columns = (row.ids.tolist(), row.classes.tolist(), row.crowd.tolist(), row.areas.tolist())
    segments = [
        {"id": segment_id, "category_id": label, "iscrowd": int(crowd), "area": area}
        for segment_id, label, crowd, area in zip(*columns, strict=True)
    ]
    return {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments}


def _categories(labels: LabelMap) -> dict[int, dict[str, Any]]:
    return {c.id: {"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in labels.categories}
