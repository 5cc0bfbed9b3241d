"""Training batches of images of mixed shape: what padding costs.

Of the images 30 % are portraits (3:4), 50 % landscapes (4:3) and 20 % wide (16:9), all resized to one short
edge, the long edge at most 1333 / 800 of it as in DETR. Ours groups like shapes together
(``data.batching: aspect``) and freezes stem and first stage (the recipes' default); stock pads every image
to a square of the longest edge and trains the whole backbone, as the official object-detection example does.
Both do a forward and backward pass of the same detector with the package's losses on every image once, in
batches of ``images``.

Compared are which images were seen, their objects and their pixels. Variants take the two apart: ours with
random batches, and stock with the same stages frozen. ``padding share`` is the part of all pixels that is
padding; it and images a second go into the JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, detector_of
from benchmarks.settings import Settings
from detr_hf.loading.collate import Batch, Target, collate
from detr_hf.loading.resize import short_edge_size
from detr_hf.loading.samplers import BatchPlan, StepSampler
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.task import DetectionTask

SHAPES_HW = {(640, 480): 0.3, (480, 640): 0.5, (540, 960): 0.2}
SHORT_EDGE, LONGEST = 800, 1333  # DETR's own


class _Images:
    """Sizes and objects of the images; pixels are made for each batch."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.longest = -(-settings.short_edge * LONGEST // SHORT_EDGE)
        shares = np.cumsum(list(SHAPES_HW.values())) * settings.pictures
        kinds = np.searchsorted(shares, np.arange(settings.pictures) + 0.5)
        shapes = [list(SHAPES_HW)[kind] for kind in np.random.default_rng(settings.seed).permutation(kinds)]
        self.sizes_hw = [short_edge_size(shape, settings.short_edge, self.longest) for shape in shapes]

    def sample(self, row: int) -> tuple[Tensor, Target]:
        """Noise with a few random boxes."""
        height, width = self.sizes_hw[row]
        generator = torch.Generator().manual_seed(1000 * self.settings.seed + row)
        objects = self.settings.objects[row % len(self.settings.objects)]
        target: Target = {
            "image_id": row,
            "size_hw": (height, width),
            "original_size_hw": (height, width),
            "class_labels": torch.randint(LABELS.num_classes, (objects,), generator=generator),
            "boxes_cxcywh_norm": 0.25 + 0.5 * torch.rand(objects, 4, generator=generator),
        }
        return torch.randn(3, height, width, generator=generator), target

    def batches(self, by_aspect: bool) -> list[list[int]]:
        """The rows of an epoch's batches, as the package's sampler makes them."""
        aspects = np.array([height / width for height, width in self.sizes_hw])
        size, seed = self.settings.images, self.settings.seed
        plan = BatchPlan(size, size, seed)
        sampler = StepSampler(len(self.sizes_hw), plan, aspects=aspects if by_aspect else None)
        return [[key[1] for key in keys] for keys in sampler]

    def square(self, batch: Batch) -> Batch:
        """The same batch in squares of the longest edge an image can have."""
        right, below = (self.longest - batch.pixel_mask.shape[axis] for axis in (2, 1))
        padding = (0, right, 0, below)
        pad = torch.nn.functional.pad
        return Batch(pad(batch.pixel_values, padding), pad(batch.pixel_mask, padding), batch.targets)


class _Epoch:
    """Forward and backward passes over batches, and what they saw."""

    def __init__(self, settings: Settings) -> None:
        self.images = _Images(settings)
        self.task = DetectionTask(detector_of(settings), LABELS).train()
        self.seen: list[tuple[int, int, float]] = []
        self.pixels = self.padding = 0

    def run(self, by_aspect: bool, square: bool = False, freeze: bool = True) -> None:
        freeze_backbone(self.task.model.model.backbone, "stem_and_first_stage" if freeze else "none")
        self.seen, self.pixels, self.padding = [], 0, 0
        for rows in self.images.batches(by_aspect):
            batch = collate([self.images.sample(row) for row in rows])
            batch = self.images.square(batch) if square else batch
            normalizers = self.task.normalizers(batch.targets)
            self.task(batch.pixel_values, batch.pixel_mask, batch.targets, normalizers)["loss"].backward()
            self.task.zero_grad()
            self._count(batch)

    def _count(self, batch: Batch) -> None:
        self.pixels += batch.pixel_mask.numel()
        self.padding += int((batch.pixel_mask == 0).sum())
        sums = batch.pixel_values.sum((1, 2, 3), dtype=torch.float64).tolist()
        for target, total in zip(batch.targets, sums, strict=True):
            self.seen.append((target["image_id"], len(target["class_labels"]), total))

    def outcome(self) -> dict[str, Tensor]:
        images, objects, sums = zip(*sorted(self.seen), strict=True)
        return {
            "images": torch.tensor(images),
            "objects": torch.tensor(objects),
            "sums of pixels": torch.tensor(sums, dtype=torch.float64),
        }

    def facts(self) -> dict[str, Any]:
        return {"padding share": round(self.padding / self.pixels, 4), "pictures": len(self.seen)}


def ours(settings: Settings) -> Side:
    """Batches of like shape; variant: random ones, padded to the largest of each."""
    epoch = _Epoch(settings)
    return Side(
        lambda: epoch.run(by_aspect=True),
        epoch.outcome,
        {"random batches": lambda: epoch.run(by_aspect=False)},
        epoch.facts,
    )


def stock(settings: Settings) -> Side:
    """Random batches of squares; variant: with the stages frozen that ours freezes."""
    epoch = _Epoch(settings)

    def run(freeze: bool) -> None:
        epoch.run(by_aspect=False, square=True, freeze=freeze)

    frozen = {"stem and first stage frozen": lambda: run(freeze=True)}
    return Side(lambda: run(freeze=False), epoch.outcome, frozen, epoch.facts)
