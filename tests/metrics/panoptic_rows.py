"""Ground truth and predictions of panoptic quality, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from detr_hf.labels import LabelMap
from detr_hf.metrics.panoptic_quality import PanopticQuality

LABELS = LabelMap.from_names(["brick", "crane"], stuff=["sky"])


BRICK, CRANE, SKY = 0, 1, 2


Rows = list[dict[str, Any]]


def picture(image_id: int, strip: list[int], **classes: int) -> dict[str, Any]:
    """A picture one pixel high; ``s3=BRICK`` makes segment 3 a brick, ``crowd3=BRICK`` a crowd of bricks."""
    segments = [
        {"id": int(name.lstrip("scrowd")), "category_id": label, "iscrowd": name.startswith("crowd")}
        for name, label in classes.items()
    ]
    return {"image_id": image_id, "id_map": np.array([strip], np.int32), "segments": segments}


def score(found: dict[str, Any], truth: dict[str, Any], **options: Any) -> dict[str, Any]:
    return PanopticQuality(LABELS, **options).compute(predictions=[found], references=[truth])


def random_rows(
    seed: int, images: int = 6, classes: int = 6, void: float = 0.1, crowd: float = 0.25
) -> tuple[Rows, Rows]:
    """Blocks as truth, shifted and partly relabeled blocks as prediction; one prediction is empty."""
    rng = np.random.default_rng(seed)
    predictions, references = [], []
    for image_id in range(images):
        height, width = 24, 36
        blocks = rng.integers(1, 10, (4, 6)).repeat(6, 0).repeat(6, 1) * 1000
        truth_map = np.where(rng.random((4, 6)).repeat(6, 0).repeat(6, 1) < void, 0, blocks).astype(np.int32)
        found_map = np.roll(blocks, rng.integers(0, 3, 2), (0, 1)).astype(np.int32) // 1000
        found_map[rng.random((height, width)) < 0.1] = 0
        if image_id == 3:
            found_map[:] = 0
        kinds = rng.integers(0, classes, 11)
        other = np.where(rng.random(11) < 0.7, kinds, rng.integers(0, classes, 11))
        truth_segments = [
            {"id": int(i), "category_id": int(kinds[i // 1000]), "iscrowd": bool(rng.random() < crowd)}
            for i in rng.permutation(np.setdiff1d(truth_map, 0))
        ]
        found_segments = [{"id": int(i), "category_id": int(other[i])} for i in np.setdiff1d(found_map, 0)]
        references.append({"image_id": image_id, "id_map": truth_map, "segments": truth_segments})
        predictions.append({"image_id": image_id, "id_map": found_map, "segments": found_segments})
    return predictions, references
