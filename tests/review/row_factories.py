"""Rows made by hand."""

from __future__ import annotations

from typing import Any

from detr_hf.review.rows import Row


def row(kind: str, annotation_id: int | None = None, **values: Any) -> Row:
    """A row of image 10 whose annotation is a brick."""
    usual: dict[str, Any] = {
        **{"rank": 1, "score": 0.9, "part": "train", "image_id": 10, "file_name": "000.jpg"},
        **{"sentence": "why.", "label": "brick", "box": [10.0, 10.0, 20.0, 20.0], "other_id": None},
        **{"other_box": None, "seen_label": None, "seen_box": None, "seen_score": None},
        **{"seen_mask": None, "judge": "runs/x"},
    }
    return Row(kind=kind, annotation_id=annotation_id, **{**usual, **values})
