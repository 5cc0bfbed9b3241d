"""The two transforms of DETR's training policy that albumentations lacks."""

from __future__ import annotations

from typing import Any

import albumentations
import numpy as np
from albumentations.augmentations.crops.transforms import BaseCrop
from albumentations.core.type_definitions import Targets
from PIL import Image


def whole_patches(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """The nearest size of whole patches, at least one each way; ``side`` of a patch in pixels."""
    height, width = (max(1, round(pixels / side)) * side for pixels in size_hw)
    return height, width


def short_edge_size(size_hw: tuple[int, int], short_edge: int, max_long_edge: int | None) -> tuple[int, int]:
    """DETR's resize rule: the short edge becomes ``short_edge``, the long edge at most ``max_long_edge``.

    Equal to what the stock image processor of DETR computes (``get_size_with_aspect_ratio`` in transformers),
    so that a trained model sees images of the same size there. The one exception: stock leaves an image
    alone whose short edge is right already, even where its long edge passes the bound; ours does not.

    Args:
        size_hw: height and width of the image, in pixels.
        short_edge, max_long_edge: in pixels; None for no limit.

    Returns:
        The new height and width; the long edge never passes ``max_long_edge``.
    """
    low, high = min(size_hw), max(size_hw)
    exact = float(short_edge)
    if max_long_edge is not None and high / low * short_edge > max_long_edge:
        exact = max_long_edge * low / high
    new_low = max(1, round(exact))
    if low == new_low and (max_long_edge is None or high <= max_long_edge):
        return size_hw
    new_high = int(exact * high / low)
    return (new_low, new_high) if size_hw[0] <= size_hw[1] else (new_high, new_low)


class ShortEdgeResize(albumentations.DualTransform):
    """Resize to a random one of several short edges, keeping the aspect ratio.

    Images are resized as the stock processor does it (bilinear, smoothed when shrinking), id maps by the
    nearest pixel.

    Args:
        short_edges: the sizes to choose from, in pixels.
        max_long_edge: bound for the long edge, in pixels.
        multiple_of: round both edges to the nearest multiple of so many pixels, which changes the aspect a
            little and may pass ``max_long_edge`` by half of it.
        p: probability.

    Raises:
        ValueError: no or non-positive sizes.
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES)

    def __init__(
        self,
        short_edges: list[int],
        max_long_edge: int | None = None,
        multiple_of: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        if not isinstance(short_edges, (list, tuple)) or not short_edges:
            raise ValueError("short_edges must be a list with at least one size")
        _require_sizes(
            short_edges=short_edges,
            max_long_edge=[] if max_long_edge is None else [max_long_edge],
            multiple_of=[] if multiple_of is None else [multiple_of],
        )
        self.short_edges = list(short_edges)
        self.max_long_edge = max_long_edge
        self.multiple_of = multiple_of

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        edge = self.py_random.choice(self.short_edges)
        new_hw = short_edge_size(params["shape"][:2], edge, self.max_long_edge)
        return {"new_hw": new_hw if self.multiple_of is None else whole_patches(new_hw, self.multiple_of)}

    def apply(self, img: np.ndarray, new_hw: tuple[int, int], **params: Any) -> np.ndarray:
        return _resize(img, new_hw, Image.Resampling.BILINEAR)

    def apply_to_mask(self, mask: np.ndarray, new_hw: tuple[int, int], **params: Any) -> np.ndarray:
        return _resize(mask, new_hw, Image.Resampling.NEAREST)

    def apply_to_bboxes(self, bboxes: np.ndarray, **params: Any) -> np.ndarray:
        return bboxes  # albumentations keeps boxes relative to the image


class RandomSizeCrop(BaseCrop):
    """DETR's crop: width and height drawn independently, then a place for it.

    Each side is drawn from ``min_size`` to the smaller of ``max_size`` and the image's side; an image
    smaller than ``min_size`` keeps that side.

    Args:
        min_size, max_size: of a side of the crop, in pixels.
        p: probability.

    Raises:
        ValueError: sizes that are not positive, or min_size above max_size.
    """

    def __init__(self, min_size: int, max_size: int, p: float = 1.0) -> None:
        super().__init__(p=p)
        _require_sizes(min_size=[min_size], max_size=[max_size])
        if min_size > max_size:
            raise ValueError(f"min_size {min_size} is above max_size {max_size}")
        self.min_size, self.max_size = min_size, max_size

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        crop_w, crop_h = self._side(width), self._side(height)
        x = self.py_random.randint(0, width - crop_w)
        y = self.py_random.randint(0, height - crop_h)
        return {"crop_coords": (x, y, x + crop_w, y + crop_h)}

    def _side(self, side: int) -> int:
        return self.py_random.randint(min(self.min_size, side), min(self.max_size, side))


def _require_sizes(**sizes: Any) -> None:
    for name, values in sizes.items():
        wrong = [value for value in values if type(value) is not int or value < 1]
        if wrong:
            raise ValueError(f"{name}: {wrong[0]!r} is not a size in pixels (a whole number from 1)")


def _resize(array: np.ndarray, new_hw: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """Pillow resizes uint8 [H, W, 3] and int32 [H, W] (its mode I) without loss of type."""
    return np.array(Image.fromarray(array).resize(new_hw[::-1], how))
