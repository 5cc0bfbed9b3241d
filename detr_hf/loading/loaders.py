"""DataLoaders whose faults are one sentence, whichever process they happen in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from detr_hf.errors import UserError
from detr_hf.loading.bad_samples import Sample, load_sample
from detr_hf.loading.collate import Batch, collate
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.rows import TableRows
from detr_hf.loading.samplers import EvaluationSampler, TrainingSampler


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
    """Every image of a split once, over all processes, in batches without padding.

    Args:
        dataset: of the validation split, a table, with transforms that are not random.
        batch_size: images per forward pass.
        workers: loading processes; 0 loads in this one.
        rank, world_size: of this process.
    """
    assert isinstance(dataset.rows, TableRows), "an evaluation knows all images beforehand"
    sizes_hw = list(zip(dataset.rows.table["height"], dataset.rows.table["width"], strict=True))
    return BatchLoader(dataset, EvaluationSampler(sizes_hw, batch_size, rank, world_size), workers)
