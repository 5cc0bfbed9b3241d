"""Several images in one: RICAP, mosaic and copy-paste, on augmented pieces, before they are normalized.

One boundary cuts image, boxes and id map. Ids are numbered anew, so that two pieces never share one; void
stays 0, crowds keep their pixels. Where there is an id map, boxes are derived from it, and the parts of one
stuff class are one segment. What is left of a thing below a share of its own area is no part of the truth;
stuff is recognized by any part of it.

RICAP is Takahashi et al. 2018; copy-paste is Ghiasi et al. 2021, without its jitter of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detr_hf.geometry import boxes_and_areas_of_segments
from detr_hf.loading.pieces import Piece, in_window, recognized
from detr_hf.recipe.data import Mix

PARTNERS = {"ricap": 3, "mosaic": 3, "copy_paste": 1}
"""So many other images go into one."""

PASTED_SCALE = (0.5, 1.5)
"""Range of the size of a pasted object, times its own."""


PASTED_SHARE = 0.5
"""So many of the partner's things are pasted."""


@dataclass(frozen=True)
class Mixing:
    """When and how training images are mixed.

    Attributes:
        mix: of the recipe.
        epochs: so many, the first ones, are mixed.
        stuff_ids: classes that are stuff.
    """

    mix: Mix
    epochs: int
    stuff_ids: Sequence[int]


def mixed(pieces: Sequence[Piece], mixing: Mixing, rng: np.random.Generator) -> Piece:
    """One piece of the size of the first.

    Args:
        pieces: the image itself, and ``PARTNERS`` of others. All have id maps or none.
        mixing: how.
        rng: of everything random in here.
    """
    pieces, stuff_ids = _with_own_ids(pieces), mixing.stuff_ids
    if mixing.mix.name == "copy_paste":
        whole = _pasted(pieces[0], pieces[1], mixing, rng)
    else:
        whole = _quadrants(pieces, mixing, rng)
    return whole if whole.id_map is None else _one_segment_of_stuff(whole, stuff_ids)


def _with_own_ids(pieces: Sequence[Piece]) -> list[Piece]:
    """Ids of all pieces numbered from 1, those of the maps alone (crowds, classes left out) as well."""
    found, last = [], 0
    for piece in pieces:
        known = piece.ids if piece.id_map is None else np.union1d(piece.ids, piece.id_map)
        known = np.unique(known[known != 0])
        own = {int(old): new for new, old in enumerate(known.tolist(), last + 1)}
        last += len(known)
        ids = np.array([own[one] for one in piece.ids.tolist()], np.int64)
        id_map = None
        if piece.id_map is not None:
            values, places = np.unique(piece.id_map, return_inverse=True)
            table = np.array([own.get(int(value), 0) for value in values], np.int32)
            id_map = table[places].reshape(piece.id_map.shape)
        found.append(replace(piece, ids=ids, id_map=id_map))
    return found


def _quadrants(pieces: Sequence[Piece], mixing: Mixing, rng: np.random.Generator) -> Piece:
    """A part of each of four pieces, about one boundary."""
    mix, (height, width) = mixing.mix, pieces[0].image.shape[:2]
    if mix.name == "ricap":
        share_x, share_y = rng.beta(mix.beta, mix.beta, size=2)
    else:
        share_x, share_y = rng.uniform(0.3, 0.7, size=2)
    x, y = (min(max(round(s * side), 1), side - 1) for s, side in ((share_x, width), (share_y, height)))
    places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    parts = []
    for piece, (left, top, right, bottom) in zip(pieces, places, strict=True):
        size_hw = (bottom - top, right - left)
        if 0 in size_hw:  # an image of a single row or column has two parts, not four
            continue
        # RICAP shows parts of images as large as they are, a mosaic the whole of each as far as it fits
        scale = _cover(piece, size_hw, enlarge_only=mix.name == "ricap")
        if scale > 1:  # what is seen alone is enlarged: a strip of 10 x 1333 would become 800 x 106,640
            seen = [min(math.ceil(n / scale), m) for n, m in zip(size_hw, piece.image.shape, strict=False)]
            piece = _cut(piece, (seen[0], seen[1]), mixing, rng)
        parts.append((_cut(_scaled(piece, scale), size_hw, mixing, rng), left, top))
    return _laid_out(parts, (height, width))


def _cover(piece: Piece, size_hw: tuple[int, int], enlarge_only: bool) -> float:
    """The scale at which a piece just covers a size."""
    scale = max(size_hw[0] / piece.image.shape[0], size_hw[1] / piece.image.shape[1])
    return max(scale, 1.0) if enlarge_only else scale


def _scaled(piece: Piece, scale: float) -> Piece:
    if scale == 1.0:
        return piece
    height, width = (int(np.ceil(side * scale - 1e-6)) for side in piece.image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image: Any = cv2.resize(piece.image, (width, height), interpolation=method)
    stretch = np.array([width / piece.image.shape[1], height / piece.image.shape[0]] * 2, np.float32)
    id_map: Any = piece.id_map
    if id_map is not None:
        id_map = cv2.resize(id_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return replace(piece, image=image, boxes_xyxy_px=piece.boxes_xyxy_px * stretch, id_map=id_map)


def _cut(piece: Piece, size_hw: tuple[int, int], mixing: Mixing, rng: np.random.Generator) -> Piece:
    """A window at a random place; things of which too little is left are not kept."""
    height, width = size_hw
    top = int(rng.integers(piece.image.shape[0] - height + 1))
    left = int(rng.integers(piece.image.shape[1] - width + 1))
    part = in_window(piece, (left, top, left + width, top + height))
    return recognized(part, piece.areas, mixing.mix.min_share, mixing.stuff_ids)


def _laid_out(parts: Sequence[tuple[Piece, int, int]], size_hw: tuple[int, int]) -> Piece:
    """Pieces that fill a canvas, each with the place of its left and upper edge."""
    image = np.empty((*size_hw, 3), np.uint8)
    id_map: Any = None if parts[0][0].id_map is None else np.zeros(size_hw, np.int32)
    boxes = []
    for part, left, top in parts:
        height, width = part.image.shape[:2]
        window = np.s_[top : top + height, left : left + width]
        image[window] = part.image
        if id_map is not None:
            id_map[window] = part.id_map
        boxes.append(part.boxes_xyxy_px + np.array([left, top, left, top], np.float32))
    return Piece(
        image,
        np.concatenate(boxes),
        np.concatenate([part.ids for part, *_ in parts]),
        np.concatenate([part.categories for part, *_ in parts]),
        id_map,
    )


def _pasted(piece: Piece, partner: Piece, mixing: Mixing, rng: np.random.Generator) -> Piece:
    """Some things of the partner, each scaled, perhaps flipped, and put anywhere by its mask."""
    assert piece.id_map is not None and partner.id_map is not None, "pasting needs masks"
    image, id_map = piece.image.copy(), piece.id_map.copy()
    pasted, areas = [], []
    for at in np.flatnonzero(~np.isin(partner.categories, mixing.stuff_ids)):
        if rng.random() >= PASTED_SHARE:
            continue
        thing = _thing(partner, int(at), rng)
        if thing is None:
            continue
        pixels, mask = thing
        areas.append(mask.sum())
        height, width = (min(m, whole) for m, whole in zip(mask.shape, image.shape[:2], strict=True))
        pixels, mask = pixels[:height, :width], mask[:height, :width]
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        window = np.s_[top : top + height, left : left + width]
        image[window][mask] = pixels[mask]
        id_map[window][mask] = partner.ids[at]
        pasted.append(at)
    taken = partner.only(np.isin(np.arange(len(partner.ids)), pasted))
    whole = Piece(
        image,
        np.concatenate([piece.boxes_xyxy_px, taken.boxes_xyxy_px]),
        np.concatenate([piece.ids, taken.ids]),
        np.concatenate([piece.categories, taken.categories]),
        id_map,
    )
    own_areas = np.concatenate([piece.areas, areas])
    return recognized(whole, own_areas, mixing.mix.min_share, mixing.stuff_ids)


def _thing(
    partner: Piece, at: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    """Pixels and mask of one thing, in its own frame; None where nothing is left of it."""
    assert partner.id_map is not None
    rows, columns = np.nonzero(partner.id_map == partner.ids[at])
    scale, is_flipped = float(rng.uniform(*PASTED_SCALE)), bool(rng.random() < 0.5)
    if len(rows) == 0:
        return None
    frame = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    mask = (partner.id_map[frame] == partner.ids[at]).astype(np.uint8)
    size_wh = (max(round(mask.shape[1] * scale), 1), max(round(mask.shape[0] * scale), 1))
    pixels: Any = cv2.resize(
        np.ascontiguousarray(partner.image[frame]), size_wh, interpolation=cv2.INTER_LINEAR
    )
    mask = cv2.resize(mask, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    if is_flipped:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    return (pixels, mask.astype(bool)) if mask.any() else None


def _one_segment_of_stuff(piece: Piece, stuff_ids: Sequence[int]) -> Piece:
    """Segments of one stuff class under the id of its first; boxes derived from the map."""
    assert piece.id_map is not None
    first: dict[int, int] = {}
    same, kept = {}, np.ones(len(piece.ids), bool)
    for at, (number, category) in enumerate(zip(piece.ids.tolist(), piece.categories.tolist(), strict=True)):
        if category in stuff_ids and first.setdefault(category, number) != number:
            same[number], kept[at] = first[category], False
    id_map = piece.id_map
    if same:
        table = np.arange(int(id_map.max()) + 1, dtype=np.int32)
        table[list(same)] = list(same.values())
        id_map = table[id_map]
    whole = replace(piece, id_map=id_map).only(kept)
    return replace(whole, boxes_xyxy_px=boxes_and_areas_of_segments(id_map, whole.ids)[0].astype(np.float32))
