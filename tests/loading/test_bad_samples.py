"""A picture that cannot be loaded is replaced, the same way everywhere, and never silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.loading.bad_samples import MOST_TRIES, BadSample, load_sample
from detr_hf.loading.collate import Batch
from detr_hf.loading.samplers import BatchPlan
from tests.factories import write_coco_detection
from tests.loading.test_loaders import POLICY, images_of, pytestmark, training_loader  # noqa: F401  the same cache and filter


def with_broken(tmp_path: Path, *broken: int):
    split = write_coco_detection(tmp_path / "a", count=8)
    images = images_of(tmp_path, split, POLICY, "train")
    for row in broken:
        path = Path(split.images) / f"{row:03d}.jpg"
        path.write_bytes(path.read_bytes()[:-500])
    return images


def epochs(images, workers: int, rank: int = 0, world_size: int = 1) -> list[Batch]:
    loader = training_loader(images, BatchPlan(4, 2, 5, rank, world_size), workers, skip_bad=True)
    return [batch for _ in range(2) for batch in loader]


def summary(batches: list[Batch]) -> list[tuple[list[int], list[BadSample]]]:
    return [([target["image_id"] for target in batch.targets], batch.skipped) for batch in batches]


def test_batches_keep_their_size_and_the_fault_is_told(tmp_path: Path) -> None:
    images = with_broken(tmp_path, 5)
    batches = epochs(images, workers=0)
    assert [len(batch) for batch in batches] == [2] * 8
    skipped = [bad for batch in batches for bad in batch.skipped]
    assert [(bad.epoch, bad.row) for bad in skipped] == [(0, 5), (1, 5)]
    assert all(bad.fault.startswith("image 15 '005.jpg': ") for bad in skipped)
    for batch in batches:
        for bad in batch.skipped:
            assert 10 + bad.replaced_by in [target["image_id"] for target in batch.targets]
    assert all(target["image_id"] != 15 for batch in batches for target in batch.targets)


def test_what_takes_its_place_does_not_depend_on_workers(tmp_path: Path) -> None:
    images = with_broken(tmp_path, 5, 2)
    assert summary(epochs(images, workers=0)) == summary(epochs(images, workers=2))


def test_ranks_stay_in_step(tmp_path: Path) -> None:
    images = with_broken(tmp_path, 0, 1, 2)
    shares = [epochs(images, 0, rank, 2) for rank in (0, 1)]
    assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]] == [2] * 4


def test_a_folder_that_is_gone_still_stops_the_run(tmp_path: Path) -> None:
    """guards: an endless search for a picture that loads."""
    images = with_broken(tmp_path, *range(8))
    with pytest.raises(UserError, match=f"none of {MOST_TRIES} other images could be loaded in its place"):
        epochs(images, workers=0)


def test_without_skip_the_first_fault_is_raised(tmp_path: Path) -> None:
    images = with_broken(tmp_path, 3)
    assert load_sample(images, (0, 2), skip_bad=False).skipped == ()
    with pytest.raises(UserError, match=r"image 13 '003\.jpg'"):
        load_sample(images, (0, 3), skip_bad=False)
