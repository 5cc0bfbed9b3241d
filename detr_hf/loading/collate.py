"""Samples of different size to one padded batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import torch
from accelerate.utils import recursively_apply
from torch import Tensor

from detr_hf.geometry import Window


class Target(TypedDict):
    """The truth about one sample, after augmentation.

    ``boxes_cxcywh_norm`` is normalized by ``size_hw``, the image without padding; crowd objects are not in
    it. Of panoptic sets ``id_map`` holds the segment of every pixel and ``segment_ids`` which of them is
    object n; pixels of crowds and of what was dropped keep an id that is not in ``segment_ids``. In tiles the
    sample is a ``window`` of an image of ``whole_size_hw``, and ``original_size_hw`` that of the window.
    """

    image_id: int
    size_hw: tuple[int, int]  # height and width after augmentation, before padding
    original_size_hw: tuple[int, int]
    class_labels: Tensor  # int64[N]
    boxes_cxcywh_norm: Tensor  # float32[N, 4]
    segment_ids: NotRequired[Tensor]  # int32[N]
    id_map: NotRequired[Tensor]  # int32[h, w]
    window: NotRequired[Window]
    whole_size_hw: NotRequired[tuple[int, int]]


@dataclass
class Batch:
    """B samples padded at the right and at the bottom to the largest height H and width W among them.

    Attributes:
        pixel_values: ``float32 [B, 3, H, W]``, color normalized; 0 in the padding.
        pixel_mask: ``int64 [B, H, W]``, 1 on the image and 0 on the padding.
        targets: B targets, unpadded.
        skipped: one :class:`~detr_hf.loading.loaders.BadSample` for each image that could not be loaded
            and was replaced.
    """

    pixel_values: Tensor
    pixel_mask: Tensor
    targets: list[Target]
    skipped: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> Batch:
        """A copy on ``device``; from pinned memory the copy does not block."""
        return self._each_tensor(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by the DataLoader where there is a GPU."""
        return self._each_tensor(lambda value: value.pin_memory())

    def _each_tensor(self, change: Callable[[Tensor], Tensor]) -> Batch:
        targets = recursively_apply(change, self.targets)
        return Batch(change(self.pixel_values), change(self.pixel_mask), targets, self.skipped)


def collate(samples: Sequence[tuple[Tensor, Target]]) -> Batch:
    """Pad images ``float32 [3, h, w]`` to one size; boxes are relative to the unpadded image and stay."""
    images = [image for image, _ in samples]
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    pixel_values = images[0].new_zeros(len(images), 3, height, width)
    pixel_mask = torch.zeros(len(images), height, width, dtype=torch.int64)
    for at, image in enumerate(images):
        pixel_values[at, :, : image.shape[1], : image.shape[2]] = image
        pixel_mask[at, : image.shape[1], : image.shape[2]] = 1
    return Batch(pixel_values, pixel_mask, [target for _, target in samples])
