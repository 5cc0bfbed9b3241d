"""Every conversion against numbers worked by hand, slow loops, or transformers' own box functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers.loss.loss_for_object_detection import box_iou, generalized_box_iou

from detr_hf import geometry as g

KINDS = pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["numpy", "torch"])


def random_boxes(count: int, seed: int) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


@KINDS
@pytest.mark.parametrize(
    ("convert", "before", "after"),
    [
        (g.boxes_xywh_to_xyxy, [10.0, 20.0, 30.0, 40.0], [10.0, 20.0, 40.0, 60.0]),
        (g.boxes_xyxy_to_xywh, [10.0, 20.0, 40.0, 60.0], [10.0, 20.0, 30.0, 40.0]),
        (g.boxes_xyxy_to_cxcywh, [10.0, 20.0, 40.0, 60.0], [25.0, 40.0, 30.0, 40.0]),
        (g.boxes_cxcywh_to_xyxy, [25.0, 40.0, 30.0, 40.0], [10.0, 20.0, 40.0, 60.0]),
    ],
)
def test_box_formats_by_hand(make: Callable, convert: Callable, before: list, after: list) -> None:
    boxes = make([[before, before]])  # any leading dimensions
    converted = convert(boxes)
    assert type(converted) is type(boxes)
    assert converted.dtype == boxes.dtype
    assert converted.tolist() == [[after, after]]


@KINDS
def test_no_boxes_stay_no_boxes(make: Callable) -> None:
    none = make([[0.0] * 4])[:0]
    for convert in (
        g.boxes_xywh_to_xyxy,
        g.boxes_xyxy_to_xywh,
        g.boxes_xyxy_to_cxcywh,
        g.boxes_cxcywh_to_xyxy,
    ):
        assert convert(none).shape == (0, 4)
    assert g.normalize_boxes(none, (4, 5)).shape == (0, 4)


@KINDS
def test_boxes_are_normalized_by_width_and_height_in_that_order(make: Callable) -> None:
    boxes = make([[50.0, 25.0, 100.0, 50.0]])
    shares = g.normalize_boxes(boxes, (100, 200))
    assert shares.tolist() == [[0.25, 0.25, 0.5, 0.5]]
    assert g.denormalize_boxes(shares, (100, 200)).tolist() == boxes.tolist()
    assert shares.dtype == boxes.dtype


@KINDS
def test_boxes_are_clipped_at_every_edge(make: Callable) -> None:
    boxes = make([[-5.0, -1.0, 300.0, 150.0], [10.0, 20.0, 30.0, 40.0], [250.0, 120.0, 260.0, 130.0]])
    clipped = g.clip_boxes_xyxy(boxes, (100, 200))
    assert clipped.tolist() == [[0, 0, 200, 100], [10, 20, 30, 40], [200, 100, 200, 100]]
    assert type(clipped) is type(boxes)


@KINDS
def test_areas(make: Callable) -> None:
    assert g.box_areas_xyxy(make([[1.0, 2.0, 4.0, 8.0], [3.0, 3.0, 3.0, 9.0]])).tolist() == [18.0, 0.0]


def test_iou_and_giou_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 6.0, 2.0]])
    # overlap 1, union 7, hull 9; the same box; a gap of 2 between boxes of 4 in a hull of 12
    assert g.pairwise_iou(a, b)[0].tolist() == pytest.approx([1 / 7, 1.0, 0.0])
    assert g.pairwise_giou(a, b)[0].tolist() == pytest.approx([1 / 7 - 2 / 9, 1.0, -4 / 12])
    assert g.paired_giou(a.expand(3, 4), b).tolist() == pytest.approx([1 / 7 - 2 / 9, 1.0, -4 / 12])


def test_iou_and_giou_equal_transformers() -> None:
    a, b = random_boxes(40, 0), random_boxes(30, 1)
    torch.testing.assert_close(g.pairwise_iou(a, b), box_iou(a, b)[0])
    torch.testing.assert_close(g.pairwise_giou(a, b), generalized_box_iou(a, b))
    torch.testing.assert_close(g.paired_giou(a[:30], b), generalized_box_iou(a, b).diagonal())


def test_pairwise_giou_of_batches_meets_only_its_own_boxes() -> None:
    a, b = random_boxes(12, 2).view(3, 4, 4), random_boxes(6, 3).view(3, 2, 4)
    batched = g.pairwise_giou(a, b)
    assert batched.shape == (3, 4, 2)
    for index in range(3):
        torch.testing.assert_close(batched[index], generalized_box_iou(a[index], b[index]))


def test_boxes_without_area_give_finite_numbers_and_gradients() -> None:
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]], requires_grad=True)
    giou = g.paired_giou(point, torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    giou.sum().backward()
    assert torch.isfinite(giou).all()
    assert torch.isfinite(point.grad).all()


def test_colors_and_ids_by_hand() -> None:
    colors = np.array(
        [[[0, 0, 0], [7, 0, 0], [0, 1, 0], [0, 0, 1], [255, 255, 255], [200, 100, 50]]], np.uint8
    )
    ids = g.rgb_to_id(colors)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[0, 7, 256, 65536, 2**24 - 1, 200 + 256 * 100 + 65536 * 50]]
    assert np.array_equal(g.id_to_rgb(ids), colors)
    assert g.id_to_rgb(ids).dtype == np.uint8


@pytest.mark.parametrize("bad", [-1, 2**24])
def test_ids_that_are_no_color_are_refused(bad: int) -> None:
    with pytest.raises(AssertionError, match="2\\*\\*24"):
        g.id_to_rgb(np.array([[bad]]))


def test_boxes_and_areas_of_segments_by_hand() -> None:
    id_map = np.array([[0, 5, 5, 0], [0, 5, 9, 9], [3, 0, 0, 9]], np.int32)
    boxes, areas = g.boxes_and_areas_of_segments(id_map, np.array([9, 3, 5, 70_000]))
    assert boxes.tolist() == [[2, 1, 4, 3], [0, 2, 1, 3], [1, 0, 3, 2], [0, 0, 0, 0]]
    assert areas.tolist() == [3, 1, 3, 0]
    assert boxes.dtype == np.float32
    assert areas.dtype == np.int64


def test_one_pixel_has_a_box_of_one_pixel() -> None:
    """Guards: boxes without +1 at the far edge, which leave one-pixel segments without size."""
    id_map = np.zeros((4, 6), np.int32)
    id_map[3, 5] = 2
    boxes, _ = g.boxes_and_areas_of_segments(id_map, np.array([2]))
    assert boxes.tolist() == [[5, 3, 6, 4]]


@pytest.mark.parametrize("seed", range(4))
def test_boxes_and_areas_of_segments_equal_a_slow_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    known = random.choice(100_000, 9, replace=False).astype(np.int32)
    id_map = random.choice(known, (17, 23)).astype(np.int32)
    ids = random.permutation(np.concatenate([known[:6], [200_000, 5_000_000]]))
    boxes, areas = g.boxes_and_areas_of_segments(id_map, ids)
    for box, area, segment in zip(boxes, areas, ids, strict=True):
        rows, columns = np.nonzero(id_map == segment)
        assert area == len(rows)
        expected = (
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
        )
        assert box.tolist() == expected


def test_boxes_and_areas_of_nothing() -> None:
    for id_map, ids in [
        (np.ones((3, 3), np.int32), np.zeros(0, int)),
        (np.zeros((0, 4), np.int32), np.array([1])),
    ]:
        boxes, areas = g.boxes_and_areas_of_segments(id_map, ids)
        assert boxes.tolist() == [[0, 0, 0, 0]] * len(ids)
        assert areas.tolist() == [0] * len(ids)


def test_masks_of_segments() -> None:
    id_map = torch.tensor([[0, 5], [70_000, 5]], dtype=torch.int32)
    masks = g.masks_of_segments(id_map, torch.tensor([70_000, 5, 6]))
    assert masks.dtype == torch.bool
    assert masks.int().tolist() == [[[0, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 0], [0, 0]]]
    assert g.masks_of_segments(id_map, torch.zeros(0, dtype=torch.int32)).shape == (0, 2, 2)
