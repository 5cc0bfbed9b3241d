"""Boxes, masks and id maps: every conversion of the package lives here, named by format and unit.

Boxes are ``[..., 4]`` arrays or tensors. ``xyxy`` is (x min, y min, x max, y max) with exclusive maxima,
``xywh`` is COCO's (x min, y min, width, height), ``cxcywh`` is DETR's (center x, center y, width, height).
``px`` is pixels, ``norm`` is a share of the image WITHOUT padding. An id map is one integer array ``[H, W]``
whose value is the id of the segment that owns the pixel; 0 is void. The box functions take numpy and torch
alike and return what they got; torch is imported where a tensor is at hand, so that commands without a model
start without it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Boxes = TypeVar("Boxes", NDArray[np.floating], "Tensor")

Window = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of an image in its pixels, the last two exclusive."""


def _stack(columns: list, like: Boxes) -> Boxes:
    if isinstance(like, np.ndarray):
        return np.stack(columns, -1)
    import torch

    return torch.stack(columns, -1)


def boxes_xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """COCO boxes (x min, y min, width, height) to corners; ``[..., 4]`` in, ``[..., 4]`` out, any unit."""
    x, y, w, h = (boxes[..., i] for i in range(4))
    return _stack([x, y, x + w, y + h], boxes)


def boxes_xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Corners to COCO boxes (x min, y min, width, height); ``[..., 4]`` in, ``[..., 4]`` out, any unit."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return _stack([x0, y0, x1 - x0, y1 - y0], boxes)


def boxes_xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """Corners to (center x, center y, width, height); ``[..., 4]`` in, ``[..., 4]`` out, any unit."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return _stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], boxes)


def boxes_cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(center x, center y, width, height) to corners; ``[..., 4]`` in, ``[..., 4]`` out, any unit."""
    cx, cy, w, h = (boxes[..., i] for i in range(4))
    return _stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], boxes)


def _scale(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    height, width = size_hw
    if isinstance(boxes, np.ndarray):
        return np.asarray([width, height, width, height], dtype=boxes.dtype)
    return boxes.new_tensor([width, height, width, height])


def normalize_boxes(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Pixels to shares of an image of ``size_hw`` (without padding), in any of the formats above."""
    return boxes / _scale(boxes, size_hw)


def denormalize_boxes(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Shares of an image of ``size_hw`` (without padding) to pixels, in any of the formats above."""
    return boxes * _scale(boxes, size_hw)


def clip_boxes_xyxy(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Corner boxes in pixels, cut at the edges of an image of ``size_hw``."""
    limit = _scale(boxes, size_hw)
    if isinstance(boxes, np.ndarray):
        return np.minimum(np.maximum(boxes, 0), limit)
    import torch

    return torch.minimum(boxes.clamp(min=0), limit)


def box_areas_xyxy(boxes: Boxes) -> Boxes:
    """Areas ``[...]`` of corner boxes ``[..., 4]``, in squared units of the boxes."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU of broadcastable corner boxes ``[..., 4]``."""
    import torch

    eps = torch.finfo(a.dtype).tiny
    overlap_wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    overlap = overlap_wh[..., 0] * overlap_wh[..., 1]
    union = box_areas_xyxy(a) + box_areas_xyxy(b) - overlap
    hull_wh = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = hull_wh[..., 0] * hull_wh[..., 1]
    iou = overlap / union.clamp(min=eps)
    return iou, iou - (hull - union) / hull.clamp(min=eps)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU ``[..., N, M]`` of every corner box of a ``[..., N, 4]`` with every one of b ``[..., M, 4]``."""
    return _iou_and_giou(a.unsqueeze(-2), b.unsqueeze(-3))[0]


def pairwise_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU ``[..., N, M]`` (Rezatofighi et al. 2019, eq. 3), box by box as ``pairwise_iou``."""
    return _iou_and_giou(a.unsqueeze(-2), b.unsqueeze(-3))[1]


def paired_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU ``[N]`` of corner boxes pair by pair: a ``[N, 4]`` with b ``[N, 4]``."""
    return _iou_and_giou(a, b)[1]


def rgb_to_id(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """COCO panoptic colors ``uint8 [H, W, 3]`` to an id map ``int32 [H, W]``: R + 256 G + 65536 B."""
    ids = rgb[..., 2].astype(np.int32)  # uint8 arithmetic would wrap
    for channel in (1, 0):  # in place: id maps are large
        ids <<= 8
        ids |= rgb[..., channel]
    return ids


def id_to_rgb(id_map: NDArray[np.integer]) -> NDArray[np.uint8]:
    """An id map ``[H, W]`` with ids below 2**24 to COCO panoptic colors ``uint8 [H, W, 3]``."""
    ids = id_map.astype(np.int64)
    assert ids.size == 0 or (ids.min() >= 0 and ids.max() < 1 << 24), "a panoptic PNG holds ids below 2**24"
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def boxes_and_areas_of_segments(
    id_map: NDArray[np.integer], ids: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tight boxes and pixel counts of segments, in a time that grows with the number of pixels alone.

    Args:
        id_map: ``[H, W]`` integers, 0 is void.
        ids: ``[N]`` the segments asked for; they need not be in the map.

    Returns:
        boxes_xyxy_px ``float32 [N, 4]`` with exclusive maxima, and areas in pixels ``int64 [N]``. A segment
        without a pixel has area 0 and the box (0, 0, 0, 0).
    """
    boxes = np.zeros((len(ids), 4), np.float32)
    areas = np.zeros(len(ids), np.int64)
    if len(ids) == 0 or id_map.size == 0:
        return boxes, areas
    height, width = id_map.shape
    # Runs of equal pixels within a row, as there are far fewer of them than pixels.
    begins = np.ones((height, width), bool)
    np.not_equal(id_map[:, 1:], id_map[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths, values = np.diff(starts, append=id_map.size), id_map.ravel()[starts]
    order = np.argsort(ids, kind="stable")
    known = np.asarray(ids)[order]
    slots = np.minimum(np.searchsorted(known, values), len(known) - 1)
    is_known = known[slots] == values
    slots, starts, lengths = slots[is_known], starts[is_known], lengths[is_known]
    rows, columns = np.divmod(starts, width)
    low, high = np.full((2, len(ids)), id_map.size), np.zeros((2, len(ids)), np.int64)
    np.minimum.at(low[0], slots, columns)
    np.minimum.at(low[1], slots, rows)
    np.maximum.at(high[0], slots, columns + lengths)
    np.maximum.at(high[1], slots, rows + 1)
    counts = np.bincount(slots, lengths, len(ids)).astype(np.int64)
    areas[order] = counts
    boxes[order] = np.where(counts[:, None] > 0, np.concatenate([low, high]).T, 0)
    return boxes, areas


def masks_of_segments(id_map: Tensor, ids: Tensor) -> Tensor:
    """Binary masks ``bool [N, H, W]`` of the segments ``ids [N]`` in an id map ``[H, W]``."""
    return id_map.unsqueeze(0) == ids.to(id_map.dtype)[:, None, None]


def upright_xy(x: Any, y: Any, orientation: int, stored_hw: tuple[float, float]) -> tuple[Any, Any]:
    """Points of a stored image after it is turned by its EXIF orientation (1 to 8).

    Args:
        x, y: pixels from the left top corner of the stored image; numbers or arrays.
        orientation: anything but 2 to 8 leaves them as they are.
        stored_hw: height and width of the image before it is turned.
    """
    height, width = stored_hw
    moved = {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }
    return moved.get(orientation, (x, y))


def upright_array(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The same for an array ``[H, W]``, such as a mask or an id map."""
    turned: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: a[::-1].T,
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: a[:, ::-1].T,
    }
    return np.ascontiguousarray(turned[orientation](stored)) if orientation in turned else stored


def tile_windows(size_hw: tuple[int, int], tile: int, overlap: float) -> list[Window]:
    """Tiles of one size that cover an image row by row, evenly spread.

    Args:
        size_hw: of the image.
        tile: side of a tile in pixels; of a smaller side there is one tile.
        overlap: the least share of a tile's side that its neighbor sees as well, below 1.
    """
    tops, lefts = (_starts(side, tile, overlap) for side in size_hw)
    height, width = (min(side, tile) for side in size_hw)
    return [(left, top, left + width, top + height) for top in tops for left in lefts]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    if side <= tile:
        return [0]
    steps = ceil((side - tile) / max(1.0, tile * (1 - overlap)))
    return [round(step * (side - tile) / steps) for step in range(steps + 1)]
