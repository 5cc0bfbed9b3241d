"""Loaders: the same batches from any number of workers, and faults as one sentence from all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import (
    MOST_TRIES,
    BadSample,
    TrainingLoader,
    evaluation_loader,
    load_sample,
)
from detr_hf.loading.mixing import PARTNERS, Mixing
from detr_hf.loading.rows import TableRows
from detr_hf.loading.samplers import BatchPlan, StepSampler
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import Data, Split
from detr_hf.recipe.data import Mix
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]

POLICY: list[dict[str, Any]] = [
    {"name": "HorizontalFlip"},
    {"name": "RandomSizeCrop", "min_size": 40, "max_size": 100},
    {"name": "GaussNoise", "p": 1.0},
]


def images_of(
    tmp_path: Path, split: Split, policy: list[dict[str, Any]], split_name: str, **more: Any
) -> DetectionDataset:
    bundle = build_bundle(Data(train=split, overfit=8), tmp_path / "run")
    transforms = build_transforms(policy, f"transforms.{split_name}")
    return DetectionDataset(TableRows(bundle.dataset["train"]), transforms, seed=5, **more)


def training_loader(
    images: DetectionDataset, plan: BatchPlan, workers: int = 0, skip_bad: bool = False
) -> TrainingLoader:
    return TrainingLoader(images, StepSampler(len(images), plan), workers, skip_bad)


def same(a: Batch, b: Batch) -> bool:
    same_pixels = torch.equal(a.pixel_values, b.pixel_values) and torch.equal(a.pixel_mask, b.pixel_mask)
    return same_pixels and all(
        torch.equal(x["id_map"], y["id_map"]) and torch.equal(x["boxes_cxcywh_norm"], y["boxes_cxcywh_norm"])
        for x, y in zip(a.targets, b.targets, strict=True)
    )


def panoptic_images(tmp_path: Path, mixing: Mixing | None) -> DetectionDataset:
    split = write_coco_panoptic(tmp_path / "a", count=8)
    return images_of(tmp_path, split, POLICY, "train", with_masks=True, mixing=mixing)


MIXINGS = [None, *(Mixing(Mix(name=name, p=0.7), epochs=9, stuff_ids=[2, 3]) for name in PARTNERS)]


@pytest.mark.parametrize("mixing", MIXINGS)
def test_workers_change_nothing_and_epochs_differ(tmp_path: Path, mixing: Mixing | None) -> None:
    """guards: augmentation that repeats itself in every worker and every epoch."""
    images = panoptic_images(tmp_path, mixing)
    runs = []
    for workers in (0, 1, 3):
        loader = training_loader(images, BatchPlan(4, 2, seed=5), workers)
        runs.append([batch for _ in range(2) for batch in loader])
    assert [len(run) for run in runs] == [8, 8, 8]
    for run in runs[1:]:
        assert all(same(a, b) for a, b in zip(runs[0], run, strict=True))
    first, second = (
        {t["image_id"]: t for batch in part for t in batch.targets} for part in (runs[0][:4], runs[0][4:])
    )
    assert first.keys() == second.keys() and len(first) == 8
    repeated = [i for i in first if first[i]["id_map"].shape == second[i]["id_map"].shape]
    assert len(repeated) < 3
    sizes = [t["size_hw"] for t in first.values()]
    assert len(set(sizes)) > 5  # samples differ from one another too


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_resumed_loader_goes_on_with_the_same_batches(tmp_path: Path, mixing: Mixing | None) -> None:
    images = panoptic_images(tmp_path, mixing)
    loader = training_loader(images, BatchPlan(2, 1, seed=5))
    loader.sampler.set_position(3)
    full = list(loader)
    loader.sampler.set_position(3, step=2)
    assert len(loader) == 4
    assert all(same(a, b) for a, b in zip(full[4:], loader, strict=True))


@pytest.mark.parametrize("mixing", MIXINGS)
def test_two_processes_see_the_samples_of_one(tmp_path: Path, mixing: Mixing | None) -> None:
    images = panoptic_images(tmp_path, mixing)

    def samples(rank: int, world_size: int) -> list[dict[int, tuple]]:
        """By step and image; batches are padded by their neighbors."""
        steps = []
        for batch in training_loader(images, BatchPlan(4, 4 // world_size, 5, rank, world_size)):
            crops = zip(batch.pixel_values, batch.targets, strict=True)
            cut = [(p[:, : t["size_hw"][0], : t["size_hw"][1]], t) for p, t in crops]
            steps.append({t["image_id"]: (p, t["id_map"], t["boxes_cxcywh_norm"]) for p, t in cut})
        return steps

    alone, first, second = samples(0, 1), samples(0, 2), samples(1, 2)
    assert len(alone) == len(first) == len(second) == 2
    for whole, one, other in zip(alone, first, second, strict=True):
        assert len(one) == len(other) == 2 and whole.keys() == one.keys() | other.keys()
        for image_id, parts in {**one, **other}.items():
            assert all(torch.equal(a, b) for a, b in zip(parts, whole[image_id], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_one_sentence_from_any_process(tmp_path: Path, workers: int) -> None:
    split = write_coco_detection(tmp_path / "a", count=8)
    path = Path(split.images) / "005.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    loader = training_loader(images_of(tmp_path, split, POLICY, "train"), BatchPlan(4, 2, seed=5), workers)
    with pytest.raises(UserError) as caught:
        list(loader)
    text = str(caught.value)
    assert text.startswith("image 15 '005.jpg': ") and "Traceback" not in text and "worker" not in text


def test_evaluation_gives_every_picture_once_and_never_pads(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=8)
    images = images_of(tmp_path, split, [{"name": "ShortEdgeResize", "short_edges": [64]}], "validation")
    seen = []
    for rank in range(2):
        for batch in evaluation_loader(images, batch_size=3, rank=rank, world_size=2):
            assert batch.pixel_mask.all() and len(batch) <= 3
            seen += [target["image_id"] for target in batch.targets]
    assert sorted(seen) == list(range(10, 18))


def test_loaders_have_lengths(tmp_path: Path) -> None:
    images = images_of(tmp_path, write_coco_detection(tmp_path / "a", count=8), POLICY, "train")
    loader = training_loader(images, BatchPlan(4, 2, seed=0, rank=1, world_size=2))
    assert len(loader) == 2 == len(list(loader))


# ---- images that cannot be loaded: replaced, the same way everywhere, and never silently


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
