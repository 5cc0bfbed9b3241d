"""An exported file against PyTorch, on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from detr_hf.errors import quantity
from detr_hf.export.graph import DetectorGraph, SegmenterGraph
from detr_hf.inference.onnx import run_session
from detr_hf.loading.collate import Target, collate
from detr_hf.modeling.families.base import Family
from detr_hf.modeling.postprocess import QueryScores

BOX_TOLERANCE = 1e-4
"""As a share of the image's width and height."""

PROBABILITY_TOLERANCE = 1e-3

LEAST_MASK_IOU = 0.999

UNDECIDED_LOGIT = 1e-3
"""Pixels whose mask logit is nearer to 0 belong to neither side: rounding decides them."""

MASKS_A_PASS = (4, 12)
"""So many queries, the surest, are compared by their masks as well: the least and the most."""

ALL_MASKS, NO_MASKS = -1.0, 2.0


@dataclass
class Differences:
    """The largest ones found.

    Attributes:
        passes: how many batches went through both.
        boxes: as shares of the image's width and height.
        probabilities: of any class.
        labels: queries whose likeliest class is another, by more than rounding.
        masks: how many were compared; 0 in stage 1.
        mask_iou: the smallest of any mask, 0 where another number of masks came out; None without masks.
    """

    passes: int = 0
    boxes: float = 0.0
    probabilities: float = 0.0
    labels: int = 0
    masks: int = 0
    mask_iou: float | None = None

    def __str__(self) -> str:
        boxes = f"boxes {self.boxes:.1e}, probabilities {self.probabilities:.1e}, other labels {self.labels}"
        if self.mask_iou is None:
            return boxes
        return f"{boxes}, least mask IoU {self.mask_iou:.5f} over {quantity(self.masks, 'mask')}"

    def within_tolerance(self) -> bool:
        """Whether the file may be trusted; what is not a number is not."""
        return (
            self.boxes <= BOX_TOLERANCE
            and self.probabilities <= PROBABILITY_TOLERANCE
            and self.labels == 0
            and (self.mask_iou is None or self.mask_iou > LEAST_MASK_IOU)
        )

    def to_json(self) -> dict[str, Any]:
        """For ``export.json``, with the tolerances."""
        tolerances = {
            "boxes": BOX_TOLERANCE,
            "probabilities": PROBABILITY_TOLERANCE,
            "mask_iou": LEAST_MASK_IOU,
        }
        return {**asdict(self), "tolerances": tolerances}


@torch.no_grad()
def compare(
    graph: DetectorGraph | SegmenterGraph, session: Any, samples: Sequence[tuple[Tensor, Target]]
) -> Differences:
    """Run both over each image alone, over a padded batch of two, and over a part of an image.

    Args:
        graph: the model in PyTorch, on the CPU.
        session: the exported file, see ``open_session``.
        samples: at least one image ``float32 [3, h, w]`` with its target.
    """
    found = Differences()
    for pixels, mask, threshold in _passes(graph, samples):
        inputs = (pixels, mask) if threshold is None else (pixels, mask, torch.tensor([threshold]))
        _add(found, graph.family, graph(*inputs), run_session(session, pixels, mask, threshold))
    return found


def _passes(
    graph: DetectorGraph | SegmenterGraph, samples: Sequence[tuple[Tensor, Target]]
) -> Iterator[tuple[Tensor, Tensor, float | None]]:
    part = _part(samples[-1])
    for group in [*([sample] for sample in samples), [samples[0], part]]:
        batch = collate(group)
        threshold = None
        if isinstance(graph, SegmenterGraph):
            threshold = _threshold(graph, batch.pixel_values, batch.pixel_mask)
        yield batch.pixel_values, batch.pixel_mask, threshold
    small = collate([part])
    for threshold in (ALL_MASKS, NO_MASKS) if isinstance(graph, SegmenterGraph) else (None,):
        yield small.pixel_values, small.pixel_mask, threshold


def _part(sample: tuple[Tensor, Target]) -> tuple[Tensor, Target]:
    """The upper left of an image, two thirds as high and half as wide."""
    pixels, target = sample
    return pixels[:, : pixels.shape[1] * 2 // 3, : pixels.shape[2] // 2], target


def _threshold(graph: SegmenterGraph, pixels: Tensor, mask: Tensor) -> float:
    """In the widest gap below one of the surest queries, where rounding cannot move a query across."""
    logits = graph(pixels, mask, torch.tensor([NO_MASKS]))[0]
    best = QueryScores.of(graph.family, logits).scores.flatten().sort(descending=True).values
    fewest, most = MASKS_A_PASS
    if len(best) <= most:
        return ALL_MASKS
    last = fewest - 1 + int((best[fewest - 1 : most] - best[fewest : most + 1]).argmax())
    return float(best[last : last + 2].mean())


def _add(found: Differences, family: Family, expected: Sequence[Tensor], actual: Sequence[Tensor]) -> None:
    found.passes += 1
    found.boxes = _larger(found.boxes, (expected[1] - actual[1]).abs().max())
    ours, theirs = family.scores.probabilities(expected[0]), family.scores.probabilities(actual[0])
    found.probabilities = _larger(found.probabilities, (ours - theirs).abs().max())
    best = ours.topk(min(2, ours.shape[-1]), dim=-1).values
    decided = best[..., 0] - best[..., -1] > 2 * PROBABILITY_TOLERANCE
    found.labels += int((decided & (ours.argmax(-1) != theirs.argmax(-1))).sum())
    if len(expected) == 4:
        worst = _least_iou(expected[2], expected[3], actual[2], actual[3])
        found.mask_iou = worst if found.mask_iou is None else min(found.mask_iou, worst)
        found.masks += len(expected[2])


def _larger(known: float, new: Tensor) -> float:
    """The larger of two; what is not a number stays, and fails every comparison."""
    return float(torch.maximum(torch.tensor(known), new))


def _least_iou(expected: Tensor, queries: Tensor, actual: Tensor, actual_queries: Tensor) -> float:
    """Of masks ``[M, h, w]`` of the same queries ``[M, 2]``; 1 where there are none."""
    if expected.shape != actual.shape or not torch.equal(queries, actual_queries):
        return 0.0
    decided = expected.abs() >= UNDECIDED_LOGIT
    ours, theirs = (expected > 0) & decided, (actual > 0) & decided
    both = (ours & theirs).flatten(1).sum(1)
    either = (ours | theirs).flatten(1).sum(1)
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return float(iou.min()) if len(iou) else 1.0
