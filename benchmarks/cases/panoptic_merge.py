"""The merge alone: mask logits of the kept queries at full size to one id map.

The input is one on which the stock rule and the reference's agree: equal scores, so that weighing masks by
them changes no arg-max; no threshold on masks or their overlap; one stuff class, listed last, so that stock
ids stay unique. The id maps and segments of both sides are compared, in full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import DetrImageProcessor
from transformers.models.detr.modeling_detr import DetrSegmentationOutput

from benchmarks.cases import Side
from benchmarks.inputs import LABELS
from benchmarks.settings import Settings
from detr_hf.modeling.panoptic_merge import merge_masks

SCORE = 0.9


def ours(settings: Settings) -> Side:
    """``merge_masks``."""
    masks, labels = _blobs(settings), _labels(settings)
    scores = torch.full((settings.kept,), SCORE)
    found: dict[str, Any] = {}

    def merge() -> None:
        found["id map"], found["segments"] = merge_masks(masks, labels, scores, LABELS.stuff_ids)

    def outcome() -> dict[str, Any]:
        return {"id map": found["id map"], "segments": np.array(found["segments"])}

    return Side(merge, outcome, {})


def stock(settings: Settings) -> Side:
    """``DetrImageProcessor.post_process_panoptic_segmentation``."""
    masks, labels = _blobs(settings), _labels(settings)
    others = (1 - SCORE) / LABELS.num_classes
    probabilities = torch.full((settings.kept, LABELS.num_classes + 1), others)
    probabilities[range(settings.kept), labels] = SCORE
    outputs = DetrSegmentationOutput(logits=probabilities.log()[None], pred_masks=masks[None])
    processor = DetrImageProcessor()
    found: dict[str, Any] = {}

    def merge() -> None:
        (found["result"],) = processor.post_process_panoptic_segmentation(
            outputs, 0.0, 0.0, 0.0, label_ids_to_fuse=set(LABELS.stuff_ids)
        )

    def outcome() -> dict[str, Any]:
        segments = {  # fused queries are listed one by one
            segment["id"]: (segment["id"], segment["label_id"], segment["score"])
            for segment in found["result"]["segments_info"]
        }
        return {"id map": found["result"]["segmentation"], "segments": np.array(list(segments.values()))}

    return Side(merge, outcome, {})


def _blobs(settings: Settings) -> torch.Tensor:
    """Smooth random logits ``[K, H, W]`` within which a sigmoid does not saturate."""
    generator = torch.Generator().manual_seed(settings.seed)
    coarse = torch.rand(settings.kept, 1, 4, 4, generator=generator) * 8 - 4
    return functional.interpolate(coarse, settings.size, mode="bilinear")[:, 0].contiguous()


def _labels(settings: Settings) -> torch.Tensor:
    """Things, and for a third of the queries the same stuff class."""
    things = settings.kept - settings.kept // 3
    random = np.random.default_rng(settings.seed)
    classes = [*random.choice(LABELS.thing_ids, things), *[LABELS.stuff_ids[0]] * (settings.kept - things)]
    return torch.tensor(classes)
