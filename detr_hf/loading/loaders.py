"""DataLoaders whose faults are one sentence, whichever process they happen in.

With ``skip_bad`` they go on without an image that cannot be loaded: another one takes its place, and the
fault is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch, Target, collate
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.rows import TableRows
from detr_hf.loading.samplers import EvaluationSampler, TrainingSampler

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
        epoch, row, *_ = key
        faults = [(row, str(fault))]
    others = dataset.replacement_keys(key, MOST_TRIES)
    for other in others:
        try:
            image, target = dataset[other]
        except UserError as again:
            faults.append((other[1], str(again)))
            continue
        return Sample(image, target, tuple(BadSample(epoch, bad, text, other[1]) for bad, text in faults))
    raise UserError(
        f"{faults[0][1]}\nand none of {len(others)} other images could be loaded in its place; the last one: "
        f"{faults[-1][1]}"
    )


class BatchLoader:
    """An iterable of batches over a DataLoader; with ``sampler`` as the order of the batches.

    Args:
        dataset: where samples come from.
        sampler: of lists of keys of ``dataset``.
        workers: loading processes; 0 loads in this one.
        skip_bad: replace an image that cannot be loaded by another, and list it in ``Batch.skipped``.

    Raises, while iterating:
        UserError: an image could not be loaded; the message names it.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        sampler: TrainingSampler | EvaluationSampler,
        workers: int,
        skip_bad: bool = False,
    ) -> None:
        self.dataset, self.sampler = dataset, sampler
        self._workers, self._skip_bad = workers, skip_bad
        self._loader = self._new_loader()

    def _new_loader(self) -> DataLoader[Any]:
        return DataLoader(
            _SamplesOrFaults(self.dataset, self._skip_bad),
            batch_sampler=self.sampler,
            num_workers=self._workers,
            collate_fn=_collate_or_fault,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # for worker seeds: the global state is what a resume restores
            persistent_workers=self._workers > 0,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        fault = None
        for batch in self._loader:
            if isinstance(batch, UserError):
                fault = str(batch)
                break
            yield batch
        if fault is not None:
            # Let go of the workers before raising: the traceback keeps what is left here alive, and a loader
            # that the garbage collector finds in a cycle waits five seconds for each worker.
            self._loader = self._new_loader()
            raise UserError(fault)


class _SamplesOrFaults(Dataset[Any]):
    """Faults as values: a DataLoader would wrap what a worker raises in a printed traceback."""

    def __init__(self, dataset: DetectionDataset, skip_bad: bool) -> None:
        self._dataset, self._skip_bad = dataset, skip_bad

    def __getitem__(self, key: Any) -> Sample | UserError:
        try:
            return load_sample(self._dataset, key, self._skip_bad)
        except UserError as fault:
            return fault


def _collate_or_fault(samples: list[Any]) -> Batch | UserError:
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    batch = collate([(sample.image, sample.target) for sample in samples])
    batch.skipped.extend(bad for sample in samples for bad in sample.skipped)
    return batch


class TrainingLoader(BatchLoader):
    """Endless in epochs: each pass gives the rest of the sampler's epoch; see :class:`TrainingSampler`."""

    sampler: TrainingSampler


def evaluation_loader(
    dataset: DetectionDataset, batch_size: int, workers: int = 0, rank: int = 0, world_size: int = 1
) -> BatchLoader:
    """Every image of a split once, over all processes, in batches without padding."""
    assert isinstance(dataset.rows, TableRows), "an evaluation knows all images beforehand"
    rows, images = dataset.rows, None
    if rows.tiles is not None:
        images = rows.tiles.rows.tolist()
    sampler = EvaluationSampler(rows.sizes_hw(), batch_size, rank, world_size, images)
    return BatchLoader(dataset, sampler, workers)
