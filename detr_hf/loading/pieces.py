"""An image with its objects as one thing, and what is left of it in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detr_hf.geometry import Window, boxes_and_areas_of_segments


@dataclass
class Piece:
    """An augmented image with its objects, N of them.

    Attributes:
        image: ``uint8 [h, w, 3]``.
        boxes_xyxy_px: ``float32 [N, 4]``.
        ids: ``int64 [N]`` in the id map.
        categories: ``int64 [N]``.
        id_map: ``int32 [h, w]``, of crowds too; None where there is none.
    """

    image: NDArray[np.uint8]
    boxes_xyxy_px: NDArray[np.float32]
    ids: NDArray[np.int64]
    categories: NDArray[np.int64]
    id_map: NDArray[np.int32] | None

    @property
    def areas(self) -> NDArray[np.float64]:
        """Pixels of each object, ``[N]``: of its segment, or of its box."""
        if self.id_map is not None:
            return boxes_and_areas_of_segments(self.id_map, self.ids)[1].astype(np.float64)
        sides = np.maximum(self.boxes_xyxy_px[:, 2:] - self.boxes_xyxy_px[:, :2], 0)
        return sides.prod(1, dtype=np.float64)

    def only(self, kept: NDArray[np.bool_]) -> Piece:
        """Some of the objects; the pixels of the others stay."""
        return replace(
            self,
            boxes_xyxy_px=self.boxes_xyxy_px[kept],
            ids=self.ids[kept],
            categories=self.categories[kept],
        )


def in_window(piece: Piece, window: Window) -> Piece:
    """The part of a piece in a window of it, with all objects: boxes are cut, perhaps to nothing."""
    left, top, right, bottom = window
    shift = np.array([left, top, left, top], np.float32)
    limits = np.array([right - left, bottom - top] * 2, np.float32)
    boxes = np.clip(piece.boxes_xyxy_px - shift, 0, limits)
    id_map = None if piece.id_map is None else piece.id_map[top:bottom, left:right]
    return replace(piece, image=piece.image[top:bottom, left:right], boxes_xyxy_px=boxes, id_map=id_map)


def recognized(
    part: Piece, own_areas: NDArray[np.float64], min_share: float, stuff_ids: Sequence[int]
) -> Piece:
    """Without things that show no more than a share of ``own_areas``; stuff is known by any part.

    Args:
        part: the objects as far as they are seen.
        own_areas: what they would show whole, ``[N]`` pixels.
        min_share: 0 to 1.
        stuff_ids: classes that are stuff; counts where there is an id map, a box of stuff is like any other.
    """
    needed = min_share * np.maximum(own_areas, 1e-9)
    if part.id_map is not None:
        needed[np.isin(part.categories, stuff_ids)] = 0
    return part.only(part.areas > needed)
