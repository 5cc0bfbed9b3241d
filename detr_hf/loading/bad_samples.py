"""Going on without an image that cannot be loaded: another one takes its place, and the fault is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.loading.collate import Target
from detr_hf.loading.dataset import DetectionDataset

MOST_TRIES = 10
"""So many images in a row that cannot be loaded are no exception: the folder is gone, or all are broken."""


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


def load_sample(dataset: DetectionDataset, key: Any, skip_bad: bool) -> Sample:
    """The sample of a key; with ``skip_bad`` another one where it cannot be loaded.

    What takes its place follows from the seed and the sample's key alone, so that batches stay as large as
    they were and a resumed run, or one with other workers, does the same.

    Raises:
        UserError: the image cannot be loaded and ``skip_bad`` is off, or too many others cannot.
    """
    try:
        return Sample(*dataset[key])
    except UserError as fault:
        if not skip_bad:
            raise
        return _replaced(dataset, key, str(fault))


def _replaced(dataset: DetectionDataset, key: Any, fault: str) -> Sample:
    epoch, row, *_ = key
    others = dataset.replacement_keys(key, MOST_TRIES)
    faults: list[tuple[int, str]] = [(row, fault)]
    for other in others:
        try:
            image, target = dataset[other]
        except UserError as again:
            faults.append((other[1], str(again)))
            continue
        skipped = tuple(BadSample(epoch, bad, text, other[1]) for bad, text in faults)
        return Sample(image, target, skipped)
    raise UserError(
        f"{fault}\nand none of {len(others)} other images could be loaded in its place; the last one: "
        f"{faults[-1][1]}"
    )
