"""Going on without a picture that cannot be loaded: another one takes its place, and the fault is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from detr_hf.errors import UserError
from detr_hf.loading.collate import Target
from detr_hf.loading.dataset import AugmentedImages

MOST_TRIES = 10
"""So many pictures in a row that cannot be loaded are no exception: the folder is gone, or all are broken."""


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be loaded.

    Attributes:
        epoch, row: which one; the row of the training split, or the place in a streamed run.
        fault: what was wrong with it; names the image.
        replaced_by: the row that took its place.
    """

    epoch: int
    row: int
    fault: str
    replaced_by: int


@dataclass(frozen=True)
class Sample:
    """One sample of a batch, and what failed before it."""

    image: Tensor
    target: Target
    skipped: tuple[BadSample, ...] = ()


class Samples(Dataset[Sample]):
    """The samples of a split; where ``skip`` is on, one that fails is replaced.

    What takes its place follows from the seed and the sample's key alone, so that batches stay as large as
    they were and a resumed run, or one with other workers, does the same.

    Args:
        images: to be loaded.
        skip: replace, rather than raise.
    """

    def __init__(self, images: AugmentedImages, skip: bool) -> None:
        self.images, self.skip = images, skip

    def __getitem__(self, key: Any) -> Sample:
        """Raises UserError: the picture cannot be loaded and ``skip`` is off, or too many others cannot."""
        try:
            return Sample(*self.images[key])
        except UserError as fault:
            if not self.skip:
                raise
            return self._replaced(key, str(fault))

    def _replaced(self, key: Any, fault: str) -> Sample:
        epoch, row, *_ = key
        others = self.images.replacement_keys(key, MOST_TRIES)
        faults: list[tuple[int, str]] = [(row, fault)]
        for other in others:
            try:
                image, target = self.images[other]
            except UserError as again:
                faults.append((other[1], str(again)))
                continue
            skipped = tuple(BadSample(epoch, bad, text, other[1]) for bad, text in faults)
            return Sample(image, target, skipped)
        raise UserError(
            f"{fault}\nand none of {len(others)} other pictures could be loaded in its place; the last one: "
            f"{faults[-1][1]}"
        )
