"""One image to an id map: forward pass, masks, merge.

The score threshold lies between the K-th and the next best query, so that exactly K are kept. Stock is
timed with its own post-processing, whose rule differs from the reference's. Compared are therefore the
masks of the kept queries before the merge, and our id map and segments with what the plain rule makes of
the stock model's masks. Masks agree to the last bits of float32; where two masks of random weights are so
close that those bits decide, a pixel may go to the other one, and counts as a difference of the id map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DetrForSegmentation, DetrImageProcessor

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, images_of, segmenter_of
from benchmarks.plain_merge import plain_merge
from benchmarks.settings import Settings
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.mask_head import mask_logits
from detr_hf.modeling.panoptic_merge import MergeSettings
from detr_hf.modeling.task import PanopticTask

FEW = 3


class _Example:
    """The model, one image, and which of its queries are kept."""

    def __init__(self, settings: Settings):
        self.model: DetrForSegmentation = segmenter_of(settings)
        self.size_hw, self.chunk = settings.size, settings.mask_chunk
        self.pixel_values, self.pixel_mask = images_of(settings, 1)
        self.scores, self.labels = self.detect().logits[-1, 0].softmax(-1).max(-1)

    @torch.no_grad()
    def detect(self) -> Any:
        """The detector alone."""
        return DETR.run(self.model.detr, self.pixel_values, self.pixel_mask, all_layers=False)

    def kept(self, count: int) -> tuple[float, Tensor]:
        """The threshold that ``count`` queries pass, and which they are in order."""
        is_object = self.labels != LABELS.num_classes
        ranked = functional.pad(self.scores[is_object].sort(descending=True).values, (0, 1))
        count = min(count, len(ranked) - 1)
        threshold = float(ranked[count - 1 : count + 1].mean())
        return threshold, ((self.scores > threshold) & is_object).nonzero()[:, 0]


def ours(settings: Settings) -> Side:
    """The package's prediction; variants: the detector alone, and fewer queries kept."""
    example = _Example(settings)
    targets = [{"image_id": 0, "size_hw": settings.size, "original_size_hw": settings.size}]

    def predict(count: int) -> Any:
        merge = MergeSettings(score_threshold=example.kept(count)[0])
        task = PanopticTask(example.model, LABELS, merge=merge, mask_chunk=settings.mask_chunk)
        return task.predict(example.pixel_values, example.pixel_mask, targets)[0]

    @torch.no_grad()
    def outcome() -> dict[str, Any]:
        _, query = example.kept(settings.kept)
        masks = mask_logits(
            example.model, example.detect(), torch.zeros_like(query), query, settings.mask_chunk
        )
        found = predict(settings.kept)
        segments = [(segment.category_id, segment.score) for segment in found.segments]
        return {"masks": masks, "id map": found.id_map, "segments": np.array(segments)}

    few = min(FEW, settings.kept)
    variants = {"the detector alone": example.detect, f"{few} queries kept": lambda: predict(few)}
    return Side(lambda: predict(settings.kept), outcome, variants)


def stock(settings: Settings) -> Side:
    """Masks of all queries, then the stock image processor."""
    example = _Example(settings)
    threshold, query = example.kept(settings.kept)
    processor = DetrImageProcessor()

    @torch.no_grad()
    def forward() -> Any:
        return example.model(pixel_values=example.pixel_values, pixel_mask=example.pixel_mask)

    def predict() -> Any:
        return processor.post_process_panoptic_segmentation(
            forward(), threshold, label_ids_to_fuse=set(LABELS.stuff_ids), target_sizes=[settings.size]
        )

    def outcome() -> dict[str, Any]:
        masks = forward().pred_masks[0, query]
        full = functional.interpolate(masks[None], settings.size, mode="bilinear")[0]
        id_map, segments = plain_merge(
            full.numpy(),
            example.labels[query].numpy(),
            example.scores[query].numpy(),
            LABELS.stuff_ids,
        )
        return {"masks": masks, "id map": id_map, "segments": np.array(segments)}

    return Side(predict, outcome, {})
