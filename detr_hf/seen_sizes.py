"""How large objects are for a network: after the resize of a recipe, beside one cell of its map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL_SHARE = 0.5
"""A class is small where this share of its objects is narrower than one cell of the network's map."""

LEAST_OBJECTS = 5
"""Of a class, before its sizes are judged."""

STRIDE = 32
"""Pixels to a cell of the map of most detectors (a ResNet's last stage), where the network is not at hand."""

REMEDY = "raise transforms.*.short_edges and max_long_edge, or train in tiles (data.tiles)"
"""For all who speak of small objects; whatever else helps them is named here."""

ANY_OF = ("OneOf", "SomeOf", "RandomOrder")


@dataclass(frozen=True)
class NetworkInput:
    """The size at which images come to a network.

    Attributes:
        short_edge, max_long_edge: of the resize, in pixels; see ``ShortEdgeResize``.
        stride: pixels to a cell of the finest map that the network's encoder sees.
        tile: side of the windows that larger images are cut into before the resize; None: they are not.
    """

    short_edge: int
    max_long_edge: int | None
    stride: int = STRIDE
    tile: int | None = None

    def sides_px(
        self, boxes_wh_px: NDArray[np.floating], sizes_hw: NDArray[np.number]
    ) -> NDArray[np.float64]:
        """Shorter side ``[N]`` as the network sees it, of boxes ``[N, 2]`` in images ``[N, 2]``."""
        if self.tile is not None:
            sizes_hw = np.minimum(sizes_hw, self.tile)
        scale = self.short_edge / sizes_hw.min(1)
        if self.max_long_edge is not None:
            scale = np.minimum(scale, self.max_long_edge / sizes_hw.max(1))
        return np.asarray(boxes_wh_px.min(1) * scale, np.float64)


def network_inputs(
    transforms: Sequence[Mapping[str, Any]], stride: int, tile: int | None = None
) -> list[NetworkInput]:
    """The sizes that a recipe's list of transforms can end with, the smallest first; none where it resizes by
    something else than ``ShortEdgeResize``. A crop before the last resize is not looked at.
    """
    return sorted(
        {NetworkInput(edge, longest, stride, tile) for edge, longest in _last_resizes(transforms)},
        key=lambda one: one.short_edge,
    )


def largest_input(
    lists: Sequence[Sequence[Mapping[str, Any]]], stride: int, tile: int | None = None
) -> NetworkInput | None:
    """Of all sizes that a recipe's lists of transforms can end with, the one that shows most."""
    inputs = [one for transforms in lists for one in network_inputs(transforms, stride, tile)]
    return max(inputs, key=lambda one: one.short_edge, default=None)


def _last_resizes(transforms: Sequence[Mapping[str, Any]]) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for entry in transforms:
        inner = entry.get("transforms")
        if entry.get("name") == "ShortEdgeResize":
            found = [(edge, entry.get("max_long_edge")) for edge in entry["short_edges"]]
        elif inner and entry["name"] in ANY_OF:
            found = [one for way in inner for one in _last_resizes([way])] or found
        elif inner:
            found = _last_resizes(inner) or found
    return found


def stride_of_config(config: Mapping[str, Any]) -> int:
    """Pixels to a cell as far as the config of a detector tells, without its network; else ``STRIDE``.

    Detectors of several feature levels begin with the map of stride 8.
    """
    levels, parts = (
        config.get("num_feature_levels"),
        (config.get("backbone_config"), config.get("backbone_kwargs")),
    )
    if isinstance(levels, int) and levels > 1:
        return 8
    strides = [part.get("output_stride") for part in parts if isinstance(part, Mapping)]
    told = [stride for stride in strides if isinstance(stride, int) and stride > 0]
    return told[0] if told else STRIDE // 2 if config.get("dilation") is True else STRIDE


def small_class(name: str, sides_px: NDArray[np.floating], seen: NetworkInput) -> str | None:
    """What to say of a class whose objects are mostly narrower than one cell, and what to set; else None.

    Args:
        name: of the class.
        sides_px: shorter sides of its objects, from ``NetworkInput.sides_px``.
        seen: how the network sees them.
    """
    if len(sides_px) < LEAST_OBJECTS or (share := (sides_px < seen.stride).mean()) < SMALL_SHARE:
        return None
    edge = seen.short_edge * seen.stride / max(float(np.median(sides_px)), 0.01)
    enough = -(-int(np.ceil(edge)) // seen.stride) * seen.stride
    return (
        f"{share:.0%} of {name} objects are narrower than one {seen.stride}-px cell at short edge "
        f"{seen.short_edge} (half of them fill one at {enough}): {REMEDY}"
    )


def small_classes(sides_px: Mapping[str, NDArray[np.floating]], seen: NetworkInput) -> list[str]:
    """``small_class`` of each class, those with most objects first."""
    said = {name: small_class(name, sides, seen) for name, sides in sides_px.items()}
    order = sorted(said, key=lambda name: -len(sides_px[name]))
    return [text for name in order if (text := said[name])]
