"""The sizes at which images come to a network, and the transforms of a recipe that make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detr_hf.recipe.data import MAX_LONG_EDGE, SHORT_EDGES

LARGEST = SHORT_EDGES[-1]
ON_CPU = 480  # largest short edge where a step would else take half a minute
LEAST = 320
TINY_CELL = 16  # pixels; the tiny checkpoint's backbone sees whole cells, and would lose a rim
ENLARGED = 2.5  # no image is made larger than so many times its short edge
FLIP = {"name": "HorizontalFlip", "p": 0.5}


@dataclass(frozen=True)
class Resize:
    """Short edges of the training, the largest last, and the bound of the long edge, in pixels."""

    short_edges: tuple[int, ...]
    max_long_edge: int
    validation_edge: int
    train: list[dict[str, Any]]
    reason: str
    multiple_of: int | None = None

    @property
    def largest(self) -> int:
        return self.short_edges[-1]

    @property
    def validation(self) -> list[dict[str, Any]]:
        longest = round(self.validation_edge * self.max_long_edge / self.largest)
        return [_entry((self.validation_edge,), longest, self.multiple_of)]


def resize_for(short_edge_px: int, is_tiny: bool = False, has_gpu: bool = True) -> Resize:
    """What suits images of this short edge.

    Args:
        short_edge_px: median of the images, or the side of the windows they are cut into.
        is_tiny: for the tiny checkpoint, which was pretrained on small images.
        has_gpu: without, images are kept smaller.
    """
    if is_tiny:
        small: tuple[int, ...] = (192, 240, 288)
        jitter = {"brightness": [0.85, 1.15], "contrast": [0.85, 1.15], "saturation": [0.85, 1.15]}
        colors = {"name": "ColorJitter", **jitter, "hue": [0, 0], "p": 0.5}
        why = "the tiny checkpoint was pretrained on images this small"
        return Resize(small, 384, 240, [FLIP, _entry(small, 384, TINY_CELL), colors], why, TINY_CELL)
    most = LARGEST if has_gpu else ON_CPU
    top = min(most, max(LEAST, round(ENLARGED * short_edge_px / 32) * 32))
    if top == LARGEST:
        why = "DETR's own policy"
    else:
        why = f"DETR's own policy at {top / LARGEST:.2g} of its size: " + (
            "a CPU" if top == ON_CPU and not has_gpu else f"images of {short_edge_px} px hold no more detail"
        )
    edges = tuple(range(round(0.6 * top / 32) * 32, top + 1, 32))
    longest = round(top * MAX_LONG_EDGE / LARGEST)
    before = tuple(round(share * top) for share in (0.5, 0.625, 0.75))
    crop = {"name": "RandomSizeCrop", "min_size": round(0.48 * top), "max_size": round(0.75 * top)}
    steps = [_entry(before, longest), crop, _entry(edges, longest)]
    either = [_entry(edges, longest), {"name": "Sequential", "p": 1.0, "transforms": steps}]
    train = [FLIP, {"name": "OneOf", "p": 1.0, "transforms": either}]
    return Resize(edges, longest, top, train, why)


def _entry(edges: tuple[int, ...], longest: int, multiple_of: int | None = None) -> dict[str, Any]:
    entry = {"name": "ShortEdgeResize", "short_edges": list(edges), "max_long_edge": longest}
    return entry if multiple_of is None else entry | {"multiple_of": multiple_of}
