"""DataLoaders whose faults are told in one sentence, whichever process they happen in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from detr_hf.errors import UserError
from detr_hf.loading.bad_samples import Sample, Samples
from detr_hf.loading.collate import Batch, collate
from detr_hf.loading.dataset import AugmentedImages, PreparedImages
from detr_hf.loading.samplers import EvaluationSampler, StepSampler, TrainingSampler
from detr_hf.loading.stream_sampler import StreamSampler
from detr_hf.loading.streamed import StreamedImages


class BatchLoader:
    """An iterable of batches over a DataLoader; with ``sampler`` as the order of the batches.

    With ``skip_bad`` a picture that cannot be loaded is replaced by another, and told in ``Batch.skipped``.

    Raises, while iterating:
        UserError: a picture could not be loaded; the message names it.
    """

    def __init__(
        self,
        images: AugmentedImages,
        sampler: TrainingSampler | EvaluationSampler,
        workers: int,
        skip_bad: bool = False,
    ) -> None:
        self.images = images
        self._samples = Samples(images, skip_bad)
        self.sampler = sampler
        self._workers = workers
        self._loader = self._new_loader()

    def _new_loader(self) -> DataLoader[Any]:
        return DataLoader(
            _FaultsAsValues(self._samples),
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


class _FaultsAsValues(Dataset[Any]):
    """A DataLoader wraps what a worker raises in a printed traceback; a fault handed over stays as it is."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, key: Any) -> Sample | UserError:
        try:
            return self._samples[key]
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


def training_loader(
    images: PreparedImages,
    batch_size: int,
    micro_batch_size: int,
    seed: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    factors: NDArray[np.float64] | None = None,
    aspects: NDArray[np.float64] | None = None,
    skip_bad: bool = False,
) -> TrainingLoader:
    """Micro-batches for training; ``loader.sampler`` knows the position and is set for a resume.

    Args:
        images: of the training split.
        batch_size: pictures per optimizer step over all processes; ``micro_batch_size`` per forward pass.
        seed: of the run; decides the order of the samples.
        workers: loading processes; 0 loads in this one.
        rank, world_size: of this process.
        factors, aspects: see :class:`~detr_hf.loading.samplers.StepSampler`.
        skip_bad: replace a picture that cannot be loaded instead of raising.

    Raises:
        UserError: the split is empty, or the batch size does not divide.
    """
    sampler = StepSampler(len(images), batch_size, micro_batch_size, rank, world_size, seed, factors, aspects)
    return TrainingLoader(images, sampler, workers, skip_bad)


def stream_loader(
    images: StreamedImages,
    batch_size: int,
    micro_batch_size: int,
    seed: int,
    shuffle_buffer: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    skip_bad: bool = False,
) -> TrainingLoader:
    """As `training_loader`, of a stream: this process reads undecoded rows, loading processes do the rest.

    Args:
        shuffle_buffer: rows held to be shuffled, over all processes.

    Raises:
        UserError: the batch size does not divide.
    """
    sampler = StreamSampler(
        *(images.stream, len(images), batch_size, micro_batch_size, rank, world_size, seed, shuffle_buffer),
        with_spares=skip_bad,
    )
    return TrainingLoader(images, sampler, workers, skip_bad)


class EvaluationLoader(BatchLoader):
    """Batches of a table of images, which can be looked at one by one as well."""

    images: PreparedImages


def evaluation_loader(
    images: PreparedImages, batch_size: int, workers: int = 0, rank: int = 0, world_size: int = 1
) -> EvaluationLoader:
    """Every picture of a split once, over all processes, in batches without padding.

    Args:
        images: of the validation split, with transforms that are not random.
        batch_size: pictures per forward pass.
        workers: loading processes; 0 loads in this one.
        rank, world_size: of this process.
    """
    sizes = list(zip(images.rows["height"], images.rows["width"], strict=True))
    return EvaluationLoader(images, EvaluationSampler(sizes, batch_size, rank, world_size), workers)
