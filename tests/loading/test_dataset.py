"""Rows to samples: truth that moves with the picture, one meaning for every kind of file, and determinism."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_cxcywh_to_xyxy, denormalize_boxes
from detr_hf.loading.dataset import IMAGENET_MEAN, IMAGENET_STD, DetectionDataset
from detr_hf.loading.mixing import PARTNERS, Mixing
from detr_hf.loading.rows import TableRows
from detr_hf.loading.transforms import build_transforms
from detr_hf.recipe import Data, Split
from detr_hf.recipe.data import Mix
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")

POLICY: list[dict[str, Any]] = [
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "RandomSizeCrop", "min_size": 50, "max_size": 110, "p": 0.7},
    {"name": "ShortEdgeResize", "short_edges": [64, 80, 96], "max_long_edge": 160},
]


def rows_of(tmp_path: Path, split: Split, count: int) -> datasets.Dataset:
    return build_bundle(Data(train=split, overfit=count), tmp_path / "run").dataset["train"]


def images_of(
    tmp_path: Path, split: Split, count: int, policy: list[dict[str, Any]] = POLICY, **more: Any
) -> DetectionDataset:
    return DetectionDataset(
        TableRows(rows_of(tmp_path, split, count)),
        build_transforms(policy, "transforms.train"),
        seed=7,
        **more,
    )


def pixels_of(target: Any) -> np.ndarray:
    return denormalize_boxes(boxes_cxcywh_to_xyxy(target["boxes_cxcywh_norm"]), target["size_hw"]).numpy()


def test_without_transforms_a_target_is_the_row(tmp_path: Path) -> None:
    """guards: boxes in pixels, which stock code trains on, and labels of 32 bits, on which it fails."""
    images = images_of(tmp_path, write_coco_detection(tmp_path / "a"), 4, policy=[])
    row, (pixels, target) = images.rows.row((0, 3)), images[(0, 3)]
    assert pixels.shape == (3, row["height"], row["width"]) and pixels.dtype == torch.float32
    assert target["image_id"] == 13 and target["size_hw"] == target["original_size_hw"] == (120, 90)
    assert (
        target["class_labels"].dtype == torch.int64
        and target["class_labels"].tolist() == row["objects"]["category"]
    )
    assert target["boxes_cxcywh_norm"].dtype == torch.float32
    xywh = np.array(row["objects"]["bbox"])
    assert np.allclose(
        pixels_of(target), np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), atol=1e-3
    )
    assert "id_map" not in target


def test_colors_are_normalized_last(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", sizes_hw=[(50, 60)])
    Image.new("RGB", (60, 50), (255, 0, 128)).save(Path(split.images) / "000.png")
    content = json.loads(Path(split.annotations).read_text())
    content["images"][0]["file_name"] = "000.png"
    Path(split.annotations).write_text(json.dumps(content))
    pixels, _ = images_of(tmp_path, split, 1, policy=[])[(0, 0)]
    expected = (np.array([255, 0, 128]) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert np.allclose(pixels[:, 7, 9], expected, atol=1e-6)
    plain, _ = images_of(tmp_path, split, 1, policy=[], mean=(0, 0, 0), std=(1, 1, 1))[(0, 0)]
    assert np.allclose(plain[:, 7, 9], [1, 0, 128 / 255])


def test_images_without_objects_give_empty_targets(tmp_path: Path) -> None:
    """guards: pictures without objects, at which the stock processor stops when there are masks."""
    images = images_of(tmp_path, write_coco_detection(tmp_path / "a"), 2)
    for epoch in range(3):
        target = images[(epoch, 0)][1]
        assert target["boxes_cxcywh_norm"].shape == (0, 4) and target["class_labels"].shape == (0,)
        assert target["class_labels"].dtype == torch.int64
    assert len(images[(0, 1)][1]["class_labels"]) > 0  # after an empty one, labels still are what they were


def test_crowds_are_not_in_the_target_but_stay_in_the_map(tmp_path: Path) -> None:
    """guards: crowds: the stock processor leaves them out of the boxes but not of the masks, and fails."""
    boxes = images_of(tmp_path / "b", write_coco_detection(tmp_path / "b", empty=0, crowd=True), 6, policy=[])
    for at in range(6):
        crowd = boxes.rows.row((0, at))["objects"]["iscrowd"]
        assert len(boxes[(0, at)][1]["class_labels"]) == len(crowd) - sum(crowd)
    maps = images_of(
        tmp_path / "m", write_coco_panoptic(tmp_path / "m", crowd=True), 4, policy=[], with_masks=True
    )
    objects, target = maps.rows.row((0, 0))["objects"], maps[(0, 0)][1]
    crowd_ids = [number for number, crowd in zip(objects["id"], objects["iscrowd"], strict=True) if crowd]
    assert crowd_ids and not set(crowd_ids) & set(target["segment_ids"].tolist())
    assert (target["id_map"] == crowd_ids[0]).any()


@pytest.mark.parametrize("with_masks", [False, True])
def test_boxes_labels_and_masks_of_a_panoptic_sample_agree(tmp_path: Path, with_masks: bool) -> None:
    """guards: boxes, areas and labels of objects that a crop removed or cut."""
    split = write_coco_panoptic(tmp_path / "a")
    masks, images = (images_of(tmp_path, split, 4, with_masks=flag) for flag in (True, with_masks))
    cut = 0
    for epoch in range(6):
        for at in range(4):
            row, full, target = images.rows.row((0, at)), masks[(epoch, at)][1], images[(epoch, at)][1]
            id_map, ids = full["id_map"].numpy(), full["segment_ids"].numpy()
            assert id_map.shape == target["size_hw"] and id_map.dtype == np.int32
            boxes_xyxy_px, areas = boxes_and_areas_of_segments(id_map, ids)
            assert (areas >= 4).all() and np.allclose(pixels_of(target), boxes_xyxy_px, atol=1e-2)
            class_of = dict(zip(row["objects"]["id"], row["objects"]["category"], strict=True))
            assert target["class_labels"].tolist() == [class_of[number] for number in ids.tolist()]
            seen, counts = np.unique(id_map, return_counts=True)
            assert set(seen[counts >= 4].tolist()) - {0} == set(ids.tolist())
            cut += len(class_of) - len(ids)
    assert cut > 0


def test_detection_targets_keep_box_and_label_together(tmp_path: Path) -> None:
    """The color at a box's center in the augmented picture is that of its class."""
    from tests.factories import COLORS, THINGS

    split = write_coco_detection(tmp_path / "a", count=8, empty=0)
    images = images_of(tmp_path, split, 8, mean=(0, 0, 0), std=(1, 1, 1))
    right = total = 0
    for epoch in range(4):
        for at in range(8):
            pixels, target = images[(epoch, at)]
            for box, label in zip(pixels_of(target), target["class_labels"].tolist(), strict=True):
                x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
                color = 255 * pixels[:, y, x].numpy()
                nearest = min(THINGS, key=lambda name: np.abs(color - COLORS[name]).sum())
                right, total = right + (nearest == THINGS[label]), total + 1
    assert total > 40 and right / total > 0.8  # another shape may lie over the center


def test_a_sample_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    images = images_of(tmp_path, write_coco_panoptic(tmp_path / "a"), 4, with_masks=True)
    first = images[(2, 1)]
    for other in ((0, 0), (2, 3), (5, 1)):
        images[other]
    again = pickle.loads(pickle.dumps(images))[(2, 1)]  # as a spawned worker gets it
    assert torch.equal(first[0], again[0]) and torch.equal(first[1]["id_map"], again[1]["id_map"])
    shapes = {tuple(images[(epoch, 1)][0].shape) for epoch in range(12)}
    assert len(shapes) > 3
    images.seed = 8
    assert not torch.equal(first[0], images[(2, 1)][0]) if images[(2, 1)][0].shape == first[0].shape else True


def _stored_as(path: Path, mode: str, suffix: str, **how: Any) -> Path:
    new = path.with_suffix(suffix)
    with Image.open(path) as image:
        image.convert(mode).save(new, **how)
    return new


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", ".png"), ("CMYK", ".tiff"), ("P", ".gif"), ("RGBA", ".png"), ("1", ".bmp"), ("LA", ".png")],
)
def test_files_of_every_kind_become_the_same_sort_of_sample(tmp_path: Path, mode: str, suffix: str) -> None:
    """guards: gray and other pictures, at which the stock processor stops."""
    split = write_coco_detection(tmp_path / "a", empty=0)
    name = _stored_as(Path(split.images) / "000.jpg", mode, suffix).name
    content = json.loads(Path(split.annotations).read_text())
    content["images"][0]["file_name"] = name
    Path(split.annotations).write_text(json.dumps(content))
    images = images_of(tmp_path, split, 1, policy=[], mean=(0, 0, 0), std=(1, 1, 1))
    pixels, _ = images[(0, 0)]
    assert pixels.shape == (3, 96, 128) and 0 < pixels.mean() < 1
    if mode in ("CMYK", "P", "RGBA"):  # color survives
        with Image.open(Path(split.images) / "000.jpg") as image:
            assert np.abs(np.asarray(image) / 255 - pixels.permute(1, 2, 0).numpy()).mean() < 0.06
    else:
        assert torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[1], pixels[2])


def test_a_turned_photo_is_upright_and_its_boxes_fit(tmp_path: Path) -> None:
    """guards: photographs that lie on their side, for want of reading their EXIF tag."""
    split = write_coco_detection(tmp_path / "a", empty=0)
    plain = images_of(tmp_path, split, 2, policy=[])[(0, 1)]
    path = Path(split.images) / "001.jpg"
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.rotate(90, expand=True).save(path, exif=exif, quality=95)
    turned = images_of(tmp_path, split, 2, policy=[])[(0, 1)]
    assert turned[0].shape == plain[0].shape and (turned[0] - plain[0]).abs().mean() < 0.1
    assert torch.equal(turned[1]["boxes_cxcywh_norm"], plain[1]["boxes_cxcywh_norm"])


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a")
    path = Path(split.images) / "001.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    images = images_of(tmp_path, split, 2)
    with pytest.raises(UserError, match=r"image 11 '001.jpg': .*001.jpg.* damaged or cut off"):
        images[(0, 1)]


def test_a_picture_exchanged_during_the_run_is_noticed(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a")
    images = images_of(tmp_path, split, 2)
    Image.new("RGB", (30, 20)).save(Path(split.images) / "001.jpg")
    with pytest.raises(UserError, match="its image is now 30x20, it was 90x120"):
        images[(0, 1)]


# ---- several images in one


def mixed_images(tmp_path: Path, split: Split, **settings: Any) -> DetectionDataset:
    mix = Mix(**{"name": "mosaic", "p": 1.0, **settings})
    return images_of(tmp_path, split, 6, mixing=Mixing(mix, epochs=2, stuff_ids=[]))


def test_images_are_mixed_until_an_epoch_and_as_often_as_asked_for(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=6)
    plain = images_of(tmp_path, split, 6)

    def changed(images: DetectionDataset, epoch: int) -> int:
        keys = [(epoch, row) for row in range(6)]
        return sum(not torch.equal(images[key][0], plain[key][0]) for key in keys)

    always = mixed_images(tmp_path, split)
    assert [changed(always, epoch) for epoch in (0, 1, 2)] == [6, 6, 0]
    some = mixed_images(tmp_path, split, p=0.5)
    assert 0 < sum(changed(some, epoch) for epoch in (0, 1)) < 12
    pixels, target = always[(0, 1)]
    assert pixels.shape == plain[(0, 1)][0].shape and target["image_id"] == plain[(0, 1)][1]["image_id"]


@pytest.mark.parametrize("name", PARTNERS)
def test_segments_of_a_few_pixels_are_no_truth_when_mixed_either(tmp_path: Path, name: str) -> None:
    """Guards: a line of two pixels of sky along the boundary, to be found as an object."""
    split = write_coco_panoptic(tmp_path / "a", count=6)
    mixing = Mixing(Mix(name=name, p=1.0, min_share=1e-6), epochs=99, stuff_ids=[2, 3])
    shrunk = [{"name": "ShortEdgeResize", "short_edges": [12]}]
    images = images_of(tmp_path, split, 6, shrunk, with_masks=True, mixing=mixing)
    smallest = []
    for epoch in range(20):
        for row in range(6):
            target = images[(epoch, row)][1]
            areas = boxes_and_areas_of_segments(target["id_map"].numpy(), target["segment_ids"].numpy())[1]
            smallest.append(areas.min(initial=99))
    assert min(smallest) == 4


def test_a_partner_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=6)
    images = mixed_images(tmp_path, split)
    before = [images[(0, row)][0] for row in range(5)]
    broken = Path(split.images) / "005.jpg"
    broken.write_bytes(broken.read_bytes()[:-500])
    after = [images[(0, row)][0] for row in range(5)]  # none of these is the broken one itself
    others = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert others > 0, "the test needs a sample with the broken one in it"
    with pytest.raises(UserError, match=r"005\.jpg"):
        images[(0, 5)]
