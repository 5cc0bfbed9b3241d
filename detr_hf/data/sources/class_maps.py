"""A class PNG as an id map: one segment a stuff class, one a connected part or an instance of a thing.

The functions here are picklable, so that worker processes make the id maps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation
from detr_hf.data.sources.class_tables import ClassTable
from detr_hf.errors import UserError
from detr_hf.foreign_files import read_bytes
from detr_hf.geometry import id_to_rgb, rgb_to_id
from detr_hf.images import image_size

MAX_PNG_BYTES = 500_000_000
IGNORED = 255  # void in gray and palette PNGs like 0, unless the table lists it; in RGB ones black is
SAME_COLORS = 0.5  # of the pixels of a palette PNG that must have a color of the table
MOST_LISTED = 5
VOID, UNKNOWN = 0, -1
INSTANCES_FROM = 1000  # Cityscapes: class * 1000 + number; below, a class or a group of its objects

Values = NDArray[np.int32]


@dataclass
class Segments:
    """What a class PNG holds.

    Attributes:
        id_map: int32 [H, W] of segment ids, 0 is void.
        objects: the segments.
        issues: values without a class, things that were split.
    """

    id_map: Values
    objects: list[Annotation]
    issues: list[Issue] = field(default_factory=list)


def segments_of(png: Path, table: ClassTable, instances: Path | None, file: str) -> Segments:
    """Read a class PNG.

    Args:
        png: gray and palette PNGs by value, RGB ones by color.
        table: the classes; its things are told apart by ``instances``, or by connected parts without.
        instances: PNG of Cityscapes' instance ids.
        file: the image, for issues.

    Raises:
        UserError: a file cannot be read as such a PNG.
    """
    classes, unknown = _classes(_pixels(png), table)
    issues = [Issue("png-unknown-ids", f"{png.name}: {unknown}", file)] if unknown else []
    classes = np.maximum(classes, VOID)
    if instances is not None:
        return _with_instances(classes, _values(_pixels(instances), instances), table, issues)
    id_map, objects, next_id = classes.copy(), [], len(table.names) + 1
    for id_, name in enumerate(table.names, start=1):
        here = classes == id_
        if not here.any():
            continue
        if name not in table.things:
            objects.append(_segment(id_, name))
            continue
        from scipy import ndimage  # slow to import, and needed by few

        parts, count = ndimage.label(here, np.ones((3, 3)))
        id_map[here] = parts[here] + next_id - 1
        objects += [_segment(next_id + part, name) for part in range(count)]
        next_id += count
        issues.append(Issue("things-split", f"{count} parts of '{name}'", file))
    return Segments(id_map, objects, issues)


def id_map_png(png: Path, table: ClassTable, instances: Path | None) -> bytes:
    """The id map of ``segments_of`` as a PNG in COCO panoptic's colors.

    Raises:
        UserError: as there.
    """
    stream = BytesIO()
    Image.fromarray(id_to_rgb(segments_of(png, table, instances, "").id_map)).save(stream, "PNG")
    return stream.getvalue()


def known_share(png: Path, table: ClassTable) -> float:
    """Share of the pixels of a class PNG whose value or color is in the table.

    Raises:
        UserError: it cannot be read.
    """
    classes, _ = _classes(_pixels(png), table)
    return float((classes != UNKNOWN).mean()) if classes.size else 0.0


def _segment(id_: int, name: str, iscrowd: bool = False) -> Annotation:
    return Annotation(id_, name, where=f"segment {id_}", category_id=name, iscrowd=iscrowd)


def _with_instances(classes: Values, instances: Values, table: ClassTable, issues: list[Issue]) -> Segments:
    """Things by instance ids; pixels of a thing outside of any instance are a group."""
    if instances.shape != classes.shape:
        raise UserError("the PNG of instances has another size than that of classes")
    names = table.names
    things = np.isin(classes, [id_ for id_, name in enumerate(names, start=1) if name in table.things])
    id_map = np.where(things & (instances >= INSTANCES_FROM), instances, classes).astype(np.int32)
    objects = []
    for id_ in (int(one) for one in np.unique(id_map) if one):
        if id_ >= INSTANCES_FROM:
            name = names[int(classes[id_map == id_][0]) - 1]
            objects.append(_segment(id_, name))
        else:
            objects.append(_segment(id_, names[id_ - 1], names[id_ - 1] in table.things))
    return Segments(id_map, objects, issues)


@dataclass
class _Pixels:
    """A PNG as stored, ``[H, W]``: values of gray or palette, colors as R + 256 G + 65536 B."""

    values: Values | None
    colors: Values | None


def _pixels(png: Path) -> _Pixels:
    content = read_bytes(png, MAX_PNG_BYTES, "class PNG", png.name)
    image_size(content, png.name)  # refuses what is no image, or too large
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            image.load()
            values = np.array(image) if image.mode in ("1", "L", "P", "I", "I;16") else None
            gray = np.array(image.getchannel(0)) if image.mode == "LA" else values
            colored = image.mode in ("P", "RGB", "RGBA")
            colors = rgb_to_id(np.array(image.convert("RGB"), np.uint8)) if colored else None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{png.name}: is no class PNG ({error})") from None
    return _Pixels(None if gray is None else gray.astype(np.int32), colors)


def _values(pixels: _Pixels, png: Path) -> Values:
    if pixels.values is None:
        raise UserError(f"{png.name}: an instance PNG is gray with 16 bits")
    return pixels.values


def _classes(pixels: _Pixels, table: ClassTable) -> tuple[Values, str]:
    """Class numbers from 1 by the order of ``table.names``, with what is not in the table in words."""
    by_color = _known(table, "color")
    if pixels.colors is not None and (by_color or pixels.values is None):
        if not by_color and _is_gray(pixels.colors):  # values, written as RGB
            return _classes(_Pixels(pixels.colors & 255, None), table)
        found = _looked_up(pixels.colors, {0: VOID} | by_color)
        shown = found[pixels.colors != 0]
        # A palette may be arbitrary: the index counts where its colors are not those of the table.
        if pixels.values is None or not shown.size or (shown != UNKNOWN).mean() >= SAME_COLORS:
            return found, _unknown(pixels.colors, found, is_color=True)
    assert pixels.values is not None
    found = _looked_up(pixels.values, {0: VOID, IGNORED: VOID} | _known(table, "value"))
    return found, _unknown(pixels.values, found, is_color=False)


def _known(table: ClassTable, what: str) -> dict[int, int]:
    """Class numbers by value, or by color as a number."""
    number = {name: id_ for id_, name in enumerate(table.names, start=1)}
    known: dict[int, int] = {}
    for row in table.rows:
        key = row.value
        if what == "color":
            key = None if row.color is None else row.color[0] + 256 * row.color[1] + 65536 * row.color[2]
        if key is not None:
            known[key] = VOID if row.is_void else number[row.name]
    return known


def _looked_up(pixels: Values, known: dict[int, int]) -> Values:
    keys = np.array(sorted(known), np.int64)
    numbers = np.array([known[int(key)] for key in keys], np.int32)
    if not len(keys):
        return np.full(pixels.shape, UNKNOWN, np.int32)
    slots = np.minimum(np.searchsorted(keys, pixels), len(keys) - 1)
    return np.where(keys[slots] == pixels, numbers[slots], UNKNOWN).astype(np.int32)


def _is_gray(colors: Values) -> bool:
    return bool(((colors & 255) * 65793 == colors).all())


def _unknown(pixels: Values, found: Values, is_color: bool) -> str:
    lost = pixels[found == UNKNOWN]
    if not lost.size:
        return ""
    values = np.unique(lost).tolist()
    shown = [str((one & 255, one >> 8 & 255, one >> 16)) if is_color else str(one) for one in values]
    more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    what = "colors" if is_color else "values"
    return f"{lost.size} pixels of {what} {', '.join(shown[:MOST_LISTED])}{more}"
