"""`data.fold`: parts that are disjoint, whole, the same every time, and have every class."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.recipe import Data, Split
from detr_hf.recipe.data import Fold
from tests.factories import write_coco_detection

pytestmark = pytest.mark.usefixtures("own_cache")


def parts(tmp_path: Path, split: Split, of: int) -> list[tuple[list[int], list[int]]]:
    made = [
        build_bundle(Data(train=split, fold=Fold(held_out=at, of=of)), tmp_path / "run") for at in range(of)
    ]
    return [tuple(one.dataset[name]["image_id"][:] for name in ("train", "validation")) for one in made]  # type: ignore[misc]


def test_every_image_is_held_out_once(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=10)
    found = parts(tmp_path, split, 3)
    assert sorted(number for _, held_out in found for number in held_out) == list(range(10, 20))
    for kept, held_out in found:
        assert sorted(kept + held_out) == list(range(10, 20)) and held_out
        assert kept == sorted(kept) and held_out == sorted(held_out), "the old order"
    assert found == parts(tmp_path, split, 3)


def test_the_validation_split_is_not_read(tmp_path: Path) -> None:
    """A run that is divided holds out of its own training images."""
    split = write_coco_detection(tmp_path / "a", count=6)
    data = Data(train=split, validation=Split(path="nowhere"), fold=Fold(held_out=0, of=2))
    bundle = build_bundle(data, tmp_path / "run")
    assert len(bundle.dataset["train"]) == len(bundle.dataset["validation"]) == 3
    assert "data.fold: part 0 of 0 to 1 is held out, 3 images" in bundle.notes


def test_more_parts_than_images_are_refused(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=3)
    with pytest.raises(UserError, match="3 images cannot be divided into 4"):
        parts(tmp_path, split, 4)
