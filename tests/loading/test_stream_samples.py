"""Samples of a stream: the same as those of a table, and the same for any number of workers."""

from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.loading.collate import Batch
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import TrainingLoader
from detr_hf.loading.mixing import PARTNERS, Mixing
from detr_hf.loading.rows import FOLLOWERS, StreamRows, TableRows
from detr_hf.loading.samplers import BatchPlan
from detr_hf.loading.stream import StreamSampler
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import Data
from detr_hf.recipe.data import Mix
from tests.loading.test_loaders import POLICY, pytestmark  # noqa: F401  the same cache and filter
from tests.stream_factories import write_parquet


def bundle_of(folder: Path, **data: Any) -> DataBundle:
    return build_bundle(Data(dataset=str(folder), streaming=True, **data), folder.parent / "run")


def images_of(bundle: DataBundle, policy: Any = POLICY, **more: Any) -> DetectionDataset:
    stream = bundle.stream
    assert stream is not None
    rows = StreamRows(stream.rows, stream.check, stream.images, stream.is_panoptic)
    return DetectionDataset(rows, build_transforms(policy, "transforms.train"), seed=5, **more)


def loader_of(bundle: DataBundle, workers: int, skip_bad: bool = False) -> TrainingLoader:
    images, stream = images_of(bundle), bundle.stream
    assert stream is not None
    followers = FOLLOWERS if skip_bad else 0
    sampler = StreamSampler(stream.rows, len(images), BatchPlan(4, 2, seed=5), 8, followers)
    return TrainingLoader(images, sampler, workers, skip_bad)


def same(first: Batch, second: Batch) -> bool:
    targets = zip(first.targets, second.targets, strict=True)
    return torch.equal(first.pixel_values, second.pixel_values) and all(
        one["image_id"] == other["image_id"]
        and torch.equal(one["boxes_cxcywh_norm"], other["boxes_cxcywh_norm"])
        for one, other in targets
    )


@pytest.mark.parametrize("stuff", [False, True])
def test_samples_are_those_of_the_same_set_as_a_table(stuff: bool, tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", stuff=stuff)
    bundle = bundle_of(folder)
    streamed = images_of(bundle, policy=[], with_masks=stuff)
    again = build_bundle(
        Data(dataset=str(folder), streaming=True, train_split="validation", validation_split="train"),
        tmp_path,
    )
    table = DetectionDataset(
        TableRows(again.dataset["validation"]), build_transforms([], "x"), 5, with_masks=stuff
    )
    keys = streamed.rows.preview_keys(20)
    assert len(keys) == len(table) == len(streamed) == 11
    for at, key in enumerate(keys):
        (pixels, target), (known, truth) = streamed[key], table[0, at]
        assert torch.equal(pixels, known) and target.keys() == truth.keys()
        for name, value in truth.items():
            found = target[name]  # type: ignore[literal-required]
            assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_workers(workers: int, tmp_path: Path) -> None:
    bundle = bundle_of(write_parquet(tmp_path / "set"))
    alone, helped = loader_of(bundle, 0), loader_of(bundle, workers)
    for _ in range(2):
        pairs = list(zip(alone, helped, strict=True))
        assert len(pairs) == 4 and all(same(first, second) for first, second in pairs)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", PARTNERS)
def test_mixed_samples_are_the_same_for_workers_and_after_a_resume(
    name: str, rank: int, tmp_path: Path
) -> None:
    """Guards: partners that were read ahead before a cut, and others after it."""
    bundle = bundle_of(write_parquet(tmp_path / "set", stuff=True))
    mixing = Mixing(Mix(name=name, p=0.7), epochs=9, stuff_ids=bundle.labels.stuff_ids)
    images, stream = images_of(bundle, with_masks=True, mixing=mixing), bundle.stream
    assert stream is not None

    def loader(workers: int, of: DetectionDataset = images) -> TrainingLoader:
        plan = BatchPlan(4, 2, seed=5, rank=rank, world_size=2)
        return TrainingLoader(of, StreamSampler(stream.rows, len(of), plan, 8, FOLLOWERS), workers)

    alone, helped, plain = loader(0), loader(2), loader(0, images_of(bundle, with_masks=True))
    shown, again, unmixed = ([b for _ in range(3) for b in one] for one in (alone, helped, plain))
    assert all(same(*pair) for pair in zip(shown, again, strict=True))
    assert not all(same(*pair) for pair in zip(shown, unmixed, strict=True))
    resumed, step = loader(0), alone.sampler.steps_per_epoch + 1
    resumed.sampler.restore({str(1 - rank): {}, **alone.sampler.state(step)}, step)
    resumed.sampler.set_position(1, step=1)
    rest = [batch for _ in range(2) for batch in resumed]
    assert all(same(*pair) for pair in zip(shown[step:], rest, strict=True))


def test_a_picture_is_augmented_anew_each_time_it_is_shown(tmp_path: Path) -> None:
    images = images_of(bundle_of(write_parquet(tmp_path / "set")))
    key = images.rows.preview_keys(1)[0]
    shown = {tuple(images[key._replace(place=place)][1]["size_hw"]) for place in range(20)}
    assert len(shown) > 1 and torch.equal(images[key][0], images[key][0])


def test_what_goes_to_a_worker_can_be_pickled(tmp_path: Path) -> None:
    """Where processes are not forked (macOS, Windows)."""
    images = images_of(bundle_of(write_parquet(tmp_path / "set")))
    key = images.rows.preview_keys(1)[0]
    copy = pickle.loads(pickle.dumps(images))
    assert torch.equal(copy[pickle.loads(pickle.dumps(key))][0], images[key][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_named_and_stops(workers: int, tmp_path: Path) -> None:
    loader = loader_of(bundle_of(write_parquet(tmp_path / "set", broken=[104])), workers)
    with pytest.raises(UserError, match=r"^image 104 '104\.jpg': "):
        list(chain(*[loader] * 4))


def test_a_bad_picture_is_replaced_by_one_that_follows_it(tmp_path: Path) -> None:
    bundle = bundle_of(write_parquet(tmp_path / "set", broken=[104, 106]))
    found = []
    for workers in (0, 2):
        loader = loader_of(bundle, workers, skip_bad=True)
        batches = [batch for _ in range(4) for batch in loader]
        assert [len(batch) for batch in batches] == [2] * 16
        shown = [target["image_id"] for batch in batches for target in batch.targets]
        assert not {104, 106} & set(shown)
        found.append((shown, [bad for batch in batches for bad in batch.skipped]))
    assert found[0] == found[1]
    bad = found[0][1]
    assert bad and all(one.fault.startswith("image 10") and one.replaced_by > one.row for one in bad)


def test_too_many_bad_pictures_in_a_row_stop(tmp_path: Path) -> None:
    bundle = bundle_of(write_parquet(tmp_path / "set", broken=range(100, 111)))
    with pytest.raises(UserError, match="none of 3 other images could be loaded"):
        list(loader_of(bundle, 0, skip_bad=True))
