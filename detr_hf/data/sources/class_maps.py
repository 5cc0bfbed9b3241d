"""A class PNG as an id map: one segment a stuff class, one a connected part or an instance of a thing.

The functions here are picklable, so that worker processes make the id maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.issues import Issue
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.class_tables import ClassTable, Color
from detr_hf.errors import UserError, quantity
from detr_hf.geometry import rgb_to_id
from detr_hf.images import decode_labels

IGNORED = 255  # void in gray and palette PNGs like 0, unless the table lists it; in RGB ones black is
SAME_COLORS = 0.5  # of the pixels of a palette PNG that must have a color of the table
MOST_LISTED = 5
MOST_SEGMENTS = 10_000
VOID, UNKNOWN = 0, -1

Values = NDArray[np.int32]


def voc_color(number: int) -> Color:
    """Pascal VOC's color of a class or object: the bits of its number go to red, green, blue in turn."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


@dataclass(frozen=True)
class ClassPng:
    """The annotation of one image."""

    classes: Path  # gray and palette PNGs count by value, RGB ones by color
    table: ClassTable
    instances: Path | None = None  # Pascal VOC's of the objects; without it, connected parts are objects


def with_segments(sample: Sample, png: ClassPng) -> Sample:
    """A sample with the segments of its PNGs, or with the issue why there are none.

    Each PNG is decoded here for the list of segments, and again where the id map is made.
    """
    try:
        _, objects, issues = segments_of(png, sample.file_name)
    except UserError as error:
        issue = Issue("png-unreadable", str(error), sample.file_name)
        return replace(sample, issues=(*sample.issues, issue))
    issues = [*sample.issues, *issues]
    return replace(sample, objects=objects, id_map=partial(id_map_png, png), issues=tuple(issues))


def id_map_png(png: ClassPng) -> bytes:
    """The id map as a PNG in COCO panoptic's colors; UserError as ``segments_of``."""
    return png_bytes(segments_of(png, "")[0])


def segments_of(png: ClassPng, file: str) -> tuple[Values, list[Annotation], list[Issue]]:
    """The id map int32 [H, W] of the image ``file``, 0 for void, its segments, and what was found.

    Raises:
        UserError: a file cannot be read as such a PNG, holds more segments than labels do, or the two differ
            in size.
    """
    found, unknown = _classes(png.classes, png.table)
    issues = [Issue("png-unknown-ids", f"{png.classes.name}: {unknown}", file)] if unknown else []
    classes = np.maximum(found, VOID)
    names = png.table.names
    is_thing = np.array([False, *(name in png.table.things for name in names)])[classes]
    if png.instances is None:
        numbers = _parts(classes, is_thing, names, issues, file)
    else:
        numbers = _instances(png.instances)
        if numbers.shape != classes.shape:
            raise UserError(f"{png.classes.name}: the PNGs of classes and of objects differ in size")
        lost = np.setdiff1d(numbers[found == VOID], numbers[found != VOID])
        if len(lost := lost[lost != VOID]):
            issues.append(Issue("category-unknown", f"{quantity(len(lost), 'object')} on background", file))
    keys = classes[is_thing].astype(np.int64) << 32 | numbers[is_thing]
    pairs, places = np.unique(keys, return_inverse=True)
    if len(pairs) > MOST_SEGMENTS:
        raise UserError(f"{png.classes.name}: {len(pairs)} combinations of class and object; no labels")
    id_map, shown = classes.copy(), np.flatnonzero(np.bincount(classes[~is_thing])).tolist()
    id_map[is_thing] = places + len(names) + 1
    objects = [_segment(id_, names[id_ - 1]) for id_ in shown if id_ != VOID]
    for id_, pair in enumerate(pairs.tolist(), start=len(names) + 1):
        objects.append(_segment(id_, names[(pair >> 32) - 1]))
    return id_map, objects, issues


def _segment(id_: int, name: str) -> Annotation:
    return Annotation(id_, name, where=f"segment {id_}", category_id=name)


def _parts(
    classes: Values, is_thing: NDArray[np.bool_], names: list[str], issues: list[Issue], file: str
) -> NDArray[np.int64]:
    """Numbers from 1 of the connected parts of things."""
    numbers = np.zeros(classes.shape, np.int64)
    for id_ in np.unique(classes[is_thing]).tolist():
        from scipy import ndimage  # slow to import, and needed by few

        here = classes == id_
        parts, count = ndimage.label(here, np.ones((3, 3)))
        numbers[here] = parts[here]
        issues.append(Issue("things-split", f"{quantity(count, 'part')} of '{names[id_ - 1]}'", file))
    return numbers


def _instances(png: Path) -> NDArray[np.int64]:
    """Numbers of objects, [H, W]; 0 for none and for the border."""
    pixels = decode_labels(png, png.name)
    numbers = (pixels if pixels.ndim == 2 else rgb_to_id(pixels)).astype(np.int64)
    return np.where(numbers == (IGNORED if pixels.ndim == 2 else _packed(voc_color(IGNORED))), VOID, numbers)


def _classes(png: Path, table: ClassTable) -> tuple[Values, str]:
    """Class numbers from 1 by the order of ``table.names``, with what is not in the table in words."""
    number = {name: id_ for id_, name in enumerate(table.names, start=1)}
    rows = [(row, VOID if row.is_void else number[row.name]) for row in table.rows]
    by_color = {_packed(row.color): id_ for row, id_ in rows if row.color is not None}
    by_value = {row.value: id_ for row, id_ in rows if row.value is not None}
    if by_color:
        pixels = decode_labels(png, png.name, colors=True)
        if pixels.ndim == 3:
            found = _looked_up(rgb_to_id(pixels), {VOID: VOID} | by_color)
            shown = found[pixels.any(axis=2)]
            if not shown.size or (shown != UNKNOWN).mean() >= SAME_COLORS:
                return found, _unknown(rgb_to_id(pixels), found, is_color=True)
    # A palette may be arbitrary: the index counts where its colors are not those of the table.
    pixels = decode_labels(png, png.name)
    if pixels.ndim == 3 and not by_color and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # values, written as RGB
    is_color = pixels.ndim == 3
    values = rgb_to_id(pixels) if is_color else pixels.astype(np.int32)
    found = _looked_up(values, {VOID: VOID} | (by_color if is_color else {IGNORED: VOID} | by_value))
    return found, _unknown(values, found, is_color)


def _packed(color: Color) -> int:
    return color[0] + 256 * color[1] + 65536 * color[2]


def _looked_up(pixels: Values, known: dict[int, int]) -> Values:
    """The class of each pixel."""
    keys = np.array(sorted(known), np.int64)
    numbers = np.array([known[key] for key in keys.tolist()], np.int32)
    slots = np.minimum(np.searchsorted(keys, pixels), len(keys) - 1)
    return np.where(keys[slots] == pixels, numbers[slots], UNKNOWN).astype(np.int32)


def _unknown(pixels: Values, found: Values, is_color: bool) -> str:
    lost = pixels[found == UNKNOWN]
    if not lost.size:
        return ""
    values = np.unique(lost).tolist()
    if len(values) > MOST_SEGMENTS:
        raise UserError(f"the PNG of classes has {len(values)} values that no table lists; it has no labels")
    shown = [str((one & 255, one >> 8 & 255, one >> 16)) if is_color else str(one) for one in values]
    more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    what = "colors" if is_color else "values"
    return f"{lost.size} pixels of {what} {', '.join(shown[:MOST_LISTED])}{more}"
