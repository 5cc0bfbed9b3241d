"""Rows of a stream to normalized pictures and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import datasets
from torch import Tensor

from detr_hf.loading.collate import Target
from detr_hf.loading.dataset import IMAGENET_MEAN, IMAGENET_STD, AugmentedImages
from detr_hf.loading.lanes import Row
from detr_hf.loading.stream_sampler import SPARES, StreamKey
from detr_hf.loading.transforms import Augmentation

Check = Callable[[Row, int], Row]
"""A raw row and its place to one with the columns of a `DataBundle`, or UserError with what is wrong."""


class StreamedImages(AugmentedImages):
    """Augmented samples of a stream: the keys carry the rows, so nothing is looked up.

    A sample depends on (seed, place in the run, row) alone.

    Args:
        stream: of undecoded rows.
        check: makes them rows of our columns; can be pickled.
        epoch_images: pictures that count as an epoch.
        is_panoptic: whether checked rows have a ``panoptic`` PNG.
        augmentation, seed, with_masks, mean, std: see :class:`~detr_hf.loading.dataset.AugmentedImages`.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        check: Check,
        epoch_images: int,
        is_panoptic: bool,
        augmentation: Augmentation,
        seed: int,
        with_masks: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(augmentation, seed, is_panoptic, with_masks, mean, std)
        self.stream, self._check, self._epoch_images = stream, check, epoch_images

    def __len__(self) -> int:
        return self._epoch_images

    def __getitem__(self, key: StreamKey) -> tuple[Tensor, Target]:
        """The sample of a key: the picture ``float32 [3, h, w]`` and its target.

        Raises:
            UserError: the row has a fault, or as
                :meth:`~detr_hf.loading.dataset.AugmentedImages.prepared`; the image is named.
        """
        return self.prepared(self._check(key.row, key.place), key.place)

    def replacement_keys(self, key: StreamKey, count: int) -> list[StreamKey]:
        """What may take the place of a sample: those that follow it in its lane."""
        return list(key.spares[:count])

    def preview_keys(self, count: int) -> list[StreamKey]:
        """The first rows of the stream as it lies there, at most ``count``; the next may stand in for one."""
        rows = islice(self.stream, count + SPARES)
        keys = [StreamKey(0, place, row) for place, row in enumerate(rows)]
        spares = (tuple(keys[at : at + SPARES]) for at in range(1, count + 1))
        return [key._replace(spares=others) for key, others in zip(keys[:count], spares, strict=False)]
