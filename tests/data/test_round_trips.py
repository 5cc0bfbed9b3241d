"""What a sink writes, its door reads: the same boxes, outlines and classes, and stable from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.data.convert import convert
from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import decoded_mask
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources import doors, open_place
from detr_hf.data.sources.base import Opened, Place
from detr_hf.images import decode_id_map
from tests.data.made_source import MadeSource
from tests.data.sinks.sink_factories import (
    CATEGORIES,
    SIZE_HW,
    boxes_sample,
    outlines_sample,
    panoptic_sample,
)

BOXES = [boxes_sample]
OUTLINES = [boxes_sample, outlines_sample]
PANOPTIC = [panoptic_sample]
TOLERANCE_PX = 0.01


def made(folder: Path, makers: list[Callable[[Path], Sample]]) -> Opened:
    """Two splits of different images."""
    samples = {split: [make(folder / split) for make in makers] for split in ("train", "validation")}
    for at, found in enumerate(samples.values()):
        for sample in found:
            assert isinstance(sample.image, Path)
            sample.image.write_bytes(sample.image.read_bytes() + bytes(at))  # no image is in both
    return Opened({split: MadeSource(found, CATEGORIES) for split, found in samples.items()})


def read(out: Path) -> dict[str, list[Sample]]:
    _, opened = open_place(Place(out, str(out)))
    found = {}
    for split, source in opened.splits.items():
        repaired = [Repair()(sample) for sample in source.samples()]
        assert [issue for one in repaired for issue in one.issues if issue.is_error] == []
        found["validation" if split == "val" else split] = [one.sample for one in repaired if one.sample]
    return found


def shape_of(found: Annotation) -> Any:
    """Polygons as points, masks by their pixels."""
    shape = found.segmentation
    if isinstance(shape, dict):
        mask = decoded_mask(shape, SIZE_HW)
        assert mask is not None
        return np.argwhere(mask)
    return None if not shape else np.array(shape[0]).reshape(-1, 2)


def require_same(one: Sample, other: Sample, crowds: bool = True, shapes: bool = True) -> None:
    assert Path(one.file_name).name == Path(other.file_name).name
    given = [found for found in one.objects if crowds or not found.iscrowd]
    assert [found.category for found in given] == [found.category for found in other.objects]
    for here, there in zip(given, other.objects, strict=True):
        np.testing.assert_allclose(there.bbox, here.bbox, atol=TOLERANCE_PX)
        assert here.iscrowd == there.iscrowd
        if shapes:
            if shape_of(here) is None:
                assert shape_of(there) is None
            else:
                np.testing.assert_allclose(shape_of(there), shape_of(here), atol=TOLERANCE_PX)


def require_door(format: str) -> None:
    if format not in doors():
        pytest.skip(f"there is no door for {format} yet")


@pytest.mark.parametrize("makers", [BOXES, OUTLINES], ids=["boxes", "outlines"])
@pytest.mark.parametrize("copy_images", [False, True])
def test_coco(tmp_path: Path, makers: list[Callable[[Path], Sample]], copy_images: bool) -> None:
    require_door("coco")
    given = made(tmp_path / "in", makers)
    convert(given, tmp_path / "out", "coco", copy_images)
    for split, samples in read(tmp_path / "out").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other)
            assert one.image_id == other.image_id


def test_yolo_boxes(tmp_path: Path) -> None:
    given = made(tmp_path / "in", BOXES)
    convert(given, tmp_path / "out", "yolo")
    for split, samples in read(tmp_path / "out").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other)
            shares = np.array([SIZE_HW[1], SIZE_HW[0]] * 2)
            boxes = [np.array([found.bbox for found in sample.objects]) / shares for sample in (one, other)]
            np.testing.assert_allclose(*boxes, atol=1e-6)


def test_yolo_outlines(tmp_path: Path) -> None:
    given = made(tmp_path / "in", OUTLINES)
    convert(given, tmp_path / "out", "yolo")
    for split, samples in read(tmp_path / "out").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other, crowds=False, shapes=False)
            for here, there in zip(one.objects, other.objects, strict=False):
                if isinstance(here.segmentation, list):
                    np.testing.assert_allclose(shape_of(there), shape_of(here), atol=TOLERANCE_PX)


def test_hf(tmp_path: Path) -> None:
    require_door("hf")
    given = made(tmp_path / "in", OUTLINES)
    convert(given, tmp_path / "out", "hf")
    for split, samples in read(tmp_path / "out").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other, shapes=False)


@pytest.mark.parametrize("to", ["coco-panoptic", "hf"])
def test_id_maps(tmp_path: Path, to: str) -> None:
    require_door(to)
    given = made(tmp_path / "in", PANOPTIC)
    convert(given, tmp_path / "out", to)
    for split, samples in read(tmp_path / "out").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other, shapes=False)
            assert [found.id for found in one.objects] == [found.id for found in other.objects]
            maps = [decode_id_map(id_map_bytes(sample)) for sample in (one, other)]
            np.testing.assert_array_equal(*maps)


def test_painted_outlines_are_the_same_from_then_on(tmp_path: Path) -> None:
    require_door("coco-panoptic")
    convert(made(tmp_path / "in", OUTLINES), tmp_path / "one", "coco-panoptic")
    _, opened = open_place(Place(tmp_path / "one", "one"))
    assert convert(opened, tmp_path / "two", "coco-panoptic").is_unchanged
    names = [f"train/panoptic/{number:012d}.png" for number in (10, 11)]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("to", ["coco", "yolo", "hf"])
@pytest.mark.parametrize("makers", [BOXES, OUTLINES], ids=["boxes", "outlines"])
def test_what_went_through_a_format_once_stays(
    tmp_path: Path, to: str, makers: list[Callable[[Path], Sample]]
) -> None:
    require_door(to)
    convert(made(tmp_path / "in", makers), tmp_path / "one", to)
    _, opened = open_place(Place(tmp_path / "one", "one"))
    again = convert(opened, tmp_path / "two", to)
    assert again.is_unchanged, list(again.report.sentences())
    first, second = read(tmp_path / "one"), read(tmp_path / "two")
    assert list(first) == list(second)
    for split in first:
        for one, other in zip(first[split], second[split], strict=True):
            require_same(one, other)


@pytest.mark.parametrize("over", ["coco", "yolo", "hf"])
def test_boxes_survive_a_way_over_another_format(tmp_path: Path, over: str) -> None:
    require_door(over)
    given = made(tmp_path / "in", BOXES)
    convert(given, tmp_path / "one", over)
    _, opened = open_place(Place(tmp_path / "one", "one"))
    convert(opened, tmp_path / "two", "yolo")
    for split, samples in read(tmp_path / "two").items():
        for one, other in zip(given.splits[split].samples(), samples, strict=True):
            require_same(one, other)
