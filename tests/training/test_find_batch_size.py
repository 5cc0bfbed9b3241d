"""The largest micro-batch that fits, with a memory that the test decides on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from detr_hf.errors import UserError
from detr_hf.modeling.task import DetectionTask
from detr_hf.training.find_batch_size import batch_of, largest_that_fits, with_found_batch_size
from tests.factories import write_coco_detection
from tests.tiny_runs import detection_recipe, save_detector

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


def trial_of(most: int, tried: list[int]):
    def trial(batch_size: int) -> int:
        tried.append(batch_size)
        if batch_size > most:
            raise torch.OutOfMemoryError(FULL)
        return batch_size

    return trial


def test_divisors_are_tried_from_the_largest_down() -> None:
    tried: list[int] = []
    assert largest_that_fits(12, trial_of(5, tried), Accelerator(cpu=True)) == 4
    assert tried == [12, 6, 4]


def test_not_one_image_fits() -> None:
    with pytest.raises(UserError, match="not one image fits into the memory"):
        largest_that_fits(4, trial_of(0, []), Accelerator(cpu=True))


def test_another_error_is_no_lack_of_memory() -> None:
    def trial(batch_size: int) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        largest_that_fits(4, trial, Accelerator(cpu=True))


def test_a_real_trial_ends_where_the_memory_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass of more than two pictures of the largest canvas fails, as it would on a full GPU."""
    split = write_coco_detection(tmp_path / "data", count=4)
    recipe = detection_recipe(tmp_path / "run", split, save_detector(tmp_path / "start"))
    forward, shapes = DetectionTask.forward, []

    def limited(self, pixel_values, *others):
        shapes.append(tuple(pixel_values.shape))
        if len(pixel_values) > 2:
            raise torch.OutOfMemoryError(FULL)
        return forward(self, pixel_values, *others)

    monkeypatch.setattr(DetectionTask, "forward", limited)
    found = with_found_batch_size(recipe, recipe)
    assert (found.optim.micro_batch_size, found.optim.batch_size) == (2, recipe.optim.batch_size)
    assert shapes == [
        (4, 3, 85, 85),
        (2, 3, 85, 85),
        (2, 3, 85, 85),
    ]  # as high as the highest, as wide as the widest


def test_a_batch_of_the_worst_case() -> None:
    target = {"image_id": 1, "size_hw": (4, 6), "original_size_hw": (4, 6)}
    target |= {"class_labels": torch.tensor([1, 2]), "boxes_cxcywh_norm": torch.full((2, 4), 0.5)}
    batch = batch_of(3, (8, 10), target)
    assert batch.pixel_values.shape == (3, 3, 8, 10) and bool(batch.pixel_mask.all())
    assert [one["size_hw"] for one in batch.targets] == [(8, 10)] * 3
