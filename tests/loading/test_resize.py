"""DETR's two transforms: the size rule, the crop, and that boxes and id maps move with the picture."""

from __future__ import annotations

import random

import albumentations
import numpy as np
import pytest
from transformers.image_transforms import get_size_with_aspect_ratio

from detr_hf.loading.resize import RandomSizeCrop, ShortEdgeResize, short_edge_size, whole_patches


@pytest.mark.parametrize(
    ("size_hw", "short_edge", "max_long_edge", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1066)),  # 800 * 640 / 480 = 1066.7, cut off
        ((640, 480), 800, 1333, (1066, 800)),
        ((360, 640), 800, 1333, (750, 1333)),  # 1333 * 360 / 640 = 749.8; the long edge is at its bound
        ((800, 1000), 800, 1333, (800, 1000)),
        ((500, 500), 480, 1333, (480, 480)),
        ((100, 1000), 600, None, (600, 6000)),
        ((1, 3000), 800, 1333, (1, 1333)),
    ],
)
def test_sizes_by_hand(
    size_hw: tuple[int, int], short_edge: int, max_long_edge: int | None, expected: tuple[int, int]
) -> None:
    assert short_edge_size(size_hw, short_edge, max_long_edge) == expected


def test_sizes_equal_those_of_the_stock_processor_and_never_pass_the_bound() -> None:
    """guards: the stock rule, which leaves a picture alone once its short edge is right."""
    rng, stock_passes_the_bound = random.Random(0), 0
    for _ in range(3000):
        size_hw = (rng.randint(30, 2000), rng.randint(30, 2000))
        edge = rng.choice(range(32, 801, 16))
        ours = short_edge_size(size_hw, edge, 1333)
        assert max(ours) <= 1333
        stock = get_size_with_aspect_ratio(size_hw, edge, 1333)
        if max(stock) > 1333:  # it leaves 1336x182 as it is, since the short edge is right already
            stock_passes_the_bound += 1
            assert max(ours) in (1332, 1333) and abs(min(ours) - min(stock)) <= 1
        else:
            assert ours == stock, (size_hw, edge)
    assert stock_passes_the_bound < 10


def _apply(transform: albumentations.DualTransform, seed: int, **data: np.ndarray) -> dict[str, np.ndarray]:
    boxes = albumentations.BboxParams("pascal_voc")
    compose = albumentations.Compose([transform], bbox_params=boxes)
    compose.set_random_seed(seed)
    return compose(**data)


def test_resizing_draws_all_short_edges_and_moves_box_and_map_alike() -> None:
    image, ids = np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), np.int32)
    image[20:40, 30:60], ids[20:40, 30:60] = 255, 16_000_000
    box = np.array([[30, 20, 60, 40]], np.float32)
    seen = set()
    for seed in range(20):
        out = _apply(ShortEdgeResize([30, 120], 1333), seed, image=image, mask=ids, bboxes=box)
        height = out["image"].shape[0]
        seen.add(height)
        scale = height / 60
        assert out["image"].shape == (height, height * 1.5, 3) and out["mask"].dtype == np.int32
        assert np.allclose(out["bboxes"], box * scale, atol=1e-3)
        y, x = np.nonzero(out["mask"] == 16_000_000)
        assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == (box[0] * scale).tolist()
    assert seen == {30, 120}


def test_an_id_map_is_never_mixed() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(np.array([0, 7, 1 << 20, (1 << 24) - 1], np.int32), (53, 71))
    image = np.zeros((53, 71, 3), np.uint8)
    for edge in (20, 37, 131):
        out = _apply(ShortEdgeResize([edge]), 0, image=image, mask=ids, bboxes=np.zeros((0, 4)))
        assert set(np.unique(out["mask"])) == {0, 7, 1 << 20, (1 << 24) - 1}


def test_crop_draws_width_and_height_independently_within_bounds() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    sizes = [
        _apply(RandomSizeCrop(40, 160), seed, image=image, bboxes=np.zeros((0, 4)))["image"].shape[:2]
        for seed in range(300)
    ]
    heights, widths = np.array(sizes).T
    assert (heights.min(), heights.max()) == (40, 100) and (widths.min(), widths.max()) == (40, 160)
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2


def test_crop_keeps_a_picture_below_its_least_size() -> None:
    image = np.zeros((30, 200, 3), np.uint8)
    out = _apply(RandomSizeCrop(40, 50), 1, image=image, bboxes=np.zeros((0, 4)))
    assert out["image"].shape[0] == 30 and 40 <= out["image"].shape[1] <= 50


def test_crop_moves_box_and_map_alike() -> None:
    image, ids = np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90), np.int32)
    ids[30:60, 35:70] = 5
    image[30:60, 35:70] = 255
    for seed in range(20):
        box = np.array([[35, 30, 70, 60]], np.float32)
        out = _apply(RandomSizeCrop(40, 60), seed, image=image, mask=ids, bboxes=box)
        assert ((out["image"][..., 0] == 255) == (out["mask"] == 5)).all()
        y, x = np.nonzero(out["mask"])
        assert np.allclose(out["bboxes"][0], [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"short_edges": []},
        {"short_edges": [0]},
        {"short_edges": 5},
        {"short_edges": [5], "max_long_edge": -1},
    ],
)
def test_senseless_sizes_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="size"):
        ShortEdgeResize(**arguments)


def test_a_crop_needs_its_bounds_in_order() -> None:
    with pytest.raises(ValueError, match="min_size 9 is above max_size 8"):
        RandomSizeCrop(9, 8)


def test_edges_of_whole_patches() -> None:
    assert whole_patches((144, 191), 16) == (144, 192)
    assert whole_patches((5, 40), 16) == (16, 32), "at least one patch; the nearer of two"
    resize = ShortEdgeResize([144], 256, multiple_of=16)
    image, box = np.zeros((100, 133, 3), np.uint8), np.array([[0, 0, 133, 100]], np.float32)
    out = _apply(resize, 0, image=image, bboxes=box)
    assert out["image"].shape == (144, 192, 3)
    np.testing.assert_allclose(out["bboxes"], [[0, 0, 192, 144]])
    with pytest.raises(ValueError, match="multiple_of: 0 is not a size in pixels"):
        ShortEdgeResize([144], multiple_of=0)
