"""labelme: a JSON file of shapes for each image.

Format: https://github.com/wkentaro/labelme (``labelme/_label_file.py``). The image of a file is the one of
the same name beside it, as labelme saves it; else the one that ``imagePath`` names, relative to the JSON;
else the bytes in ``imageData``. labelme turns images upright by EXIF before it shows them, and points are
pixels of the upright image. Its data have no splits. X-AnyLabeling's files have a few values more.
"""

from __future__ import annotations

import base64
import binascii
import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from detr_hf.data.image_files import ImageFiles, first_files, is_image, plain_key
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, annotated_size, head_of
from detr_hf.data.sources.pairing import Entry, FilePerImage, Scan
from detr_hf.data.sources.shapes import ellipse, flat_points, placed_mask
from detr_hf.data.sources.splits import TRAIN, open_all
from detr_hf.errors import UserError
from detr_hf.foreign_files import parse_json, read_bytes
from detr_hf.images import MAX_PIXELS, decode_image

FORMAT = "labelme"
TITLE = "labelme (a JSON file an image)"
LOOKS_FOR = "images with a .json beside each, which has `shapes`"
ORDER = 60

MAX_FILE_BYTES = 400_000_000
"""Largest JSON file: it may hold the image."""

HEAD_BYTES = 1 << 16
_OWN_KEY = re.compile(rb'"(version|flags|shape_type|imagePath|imageData|imageHeight)"\s*:')
_COCO = re.compile(rb'"(images|annotations)"\s*:\s*\[')

VOID_LABELS = ("__ignore__", "_background_")
ROTATED = ("oriented_rectangle", "rotation")  # labelme's and X-AnyLabeling's
SHAPES = ("polygon", *ROTATED, "rectangle", "circle", "mask")
STRAIGHT_PX = 0.01
KEPT = ("group_id", "flags", "description", "attributes")


def detect(path: Path) -> bool:
    """Whether it is a labelme file, or a folder in which one of the first JSON files is one."""
    return any(map(_is_labelme, [path] if path.is_file() else first_files(path, ".json")))


def _is_labelme(path: Path) -> bool:
    head = head_of(path, HEAD_BYTES) if path.suffix.lower() == ".json" else b""
    if re.search(rb'"shapes"\s*:\s*\[', head) and not _COCO.search(head):
        return _OWN_KEY.search(head) is not None
    try:  # only an image may stand before the shapes
        return b'"imageData"' in head and _content(path, "") is not None
    except UserError:
        return False


def _content(path: Path, name: str) -> dict[str, Any] | None:
    """What is in a file; None where it is none of labelme."""
    content = parse_json(read_bytes(path, MAX_FILE_BYTES, "labelme file", name), name, any_number=True)
    return content if isinstance(content, dict) and isinstance(content.get("shapes"), list) else None


def open_splits(place: Place) -> Opened:
    """All images as "train".

    Raises:
        UserError: there is no JSON file of labelme.
    """
    return open_all(FORMAT, _Labelme(place))


class _Labelme(FilePerImage):
    """The labelme files of a folder, or one of them alone."""

    suffix, what = ".json", "labelme file"

    def __init__(self, place: Place) -> None:
        files = ImageFiles(place.path.parent if place.path.is_file() else place.path)
        super().__init__(place, files, ImageFiles(place.images) if place.images else files)
        self.arrange(_key, self._in_splits)

    def _in_splits(self, pairs: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
        is_one = self.place.path.is_file()
        entries = [entry for found in pairs.values() for entry in found if entry.file or not is_one]
        return {TRAIN: sorted(entries, key=lambda entry: entry.file_name)}

    def scan(self, name: str) -> Scan | None:
        content = _content(self.folder / name, name)
        if content is None:
            return None
        said, shapes = content.get("imagePath"), content["shapes"]
        beside = posixpath.join(posixpath.dirname(name), str(said).replace("\\", "/"))
        names = [posixpath.normpath(beside)] if isinstance(said, str) and said else []
        inside = ""
        if isinstance(content.get("imageData"), str) and content["imageData"]:
            suffix = PurePosixPath(str(said)).suffix.lower() if is_image(str(said)) else ".png"
            inside = name[: -len(".json")] + suffix
        classes = {class_name(shape.get("label")) for shape in shapes if kind_of(shape) is not None}
        names += [] if inside else [PurePosixPath(name).stem]
        return Scan(names, {one for one in classes if one is not None}, inside)

    def read(self, made: Sample, entry: Entry) -> Sample:
        content = _content(self.folder / str(entry.file), str(entry.file)) or {}
        image = _from_base64(content.get("imageData")) if entry.is_inside else made.image
        declared_hw = content.get("imageHeight"), content.get("imageWidth")
        reader = ShapeReader(entry.file_name, lambda: annotated_size(declared_hw, image))
        return replace(
            made,
            image=image,
            objects=reader.read(content.get("shapes", [])),
            declared_hw=declared_hw,
            issues=(*entry.issues, *reader.issues),
            extra={"flags": content["flags"]} if content.get("flags") else {},
        )


def _key(name: str) -> str:
    return plain_key(posixpath.splitext(name)[0])


@dataclass
class ShapeReader:
    """Reads the shapes of one image and remembers what it found."""

    file: str  # the image, for issues
    size: Callable[[], tuple[int, int] | None]  # height and width as annotated, if known; masks need them
    issues: list[Issue] = field(default_factory=list)

    def read(self, shapes: list[Any]) -> list[Annotation]:
        """The objects; shapes of one label and one ``group_id`` are parts of the same."""
        made: dict[Any, Annotation] = {}
        for number, shape in enumerate(shapes, start=1):
            if (found := self._object(shape, number)) is None:
                continue
            group = found.extra.get("group_id")
            is_sound = found.bbox is None or (len(found.bbox) == 4 and all(map(is_coordinate, found.bbox)))
            key = (found.category, type(group), str(group)) if group is not None and is_sound else number
            made[key] = _joined(made[key], found) if key in made else found
        return list(made.values())

    def _note(self, code: str, text: str) -> Any:
        """Remember an issue; returns None, which is what callers make of a shape that is none."""
        self.issues.append(Issue(code, text, self.file))

    def _object(self, shape: Any, number: int) -> Annotation | None:
        where = f"shape {number}"
        if not isinstance(shape, dict):
            return self._note("entry-invalid", f"{where}: is a {type(shape).__name__}")
        kind, label, score = kind_of(shape), shape.get("label"), shape.get("score")
        if kind is None:
            return self._note("not-taken", f"{where}: a {str(shape.get('shape_type'))[:50]}")
        if label in VOID_LABELS:
            return self._note("class-void", f"{where}: {label}")
        if is_coordinate(label):
            self._note("odd-type", f"{where}: label {label} is no text")
        bbox, segmentation = self._drawn(shape, kind, where)
        return Annotation(
            id=number,
            category=class_name(label),
            bbox=bbox,
            segmentation=segmentation,
            iscrowd=shape.get("difficult") is True,  # X-AnyLabeling's, in the sense of Pascal VOC
            where=where,
            category_id=label,
            score=float(score) if is_coordinate(score) and 0 <= score <= 1 else None,
            extra={name: shape[name] for name in KEPT if shape.get(name) not in (None, {}, "")},
        )

    def _drawn(self, shape: dict[str, Any], kind: str, where: str) -> tuple[Any, Any]:
        """Box and outline; what is no number is left for `repair` to judge."""
        flat = flat_points(shape.get("points"))
        if kind in ROTATED:
            self._note("box-rotated", where)
        if kind == "polygon" or kind in ROTATED:
            return None, [flat]
        wanted = (4, 8) if kind == "rectangle" else (4,)
        if len(flat) not in wanted or not all(map(is_coordinate, flat)):
            return flat, None
        x0, y0, x1, y1 = flat[:4]
        if kind == "circle":  # its center, and a point on it
            radius = math.hypot(x1 - x0, y1 - y0)
            return None, [ellipse(x0, y0, radius, radius)]
        if kind == "mask":
            mask = self._mask(shape, int(x0), int(y0), where)
            # Of a mask, the second point is the last pixel inside.
            return (None, mask) if mask is not None else ([x0, y0, x1 - x0 + 1, y1 - y0 + 1], None)
        # Two corners in any order, or all four, which may be turned.
        points = np.array(flat, float).reshape(-1, 2)
        low, high = points.min(0), points.max(0)
        if np.minimum(points - low, high - points).sum(1).max() > STRAIGHT_PX:
            self._note("box-rotated", where)
            return None, [flat]
        return [*low.tolist(), *(high - low).tolist()], None

    def _mask(self, shape: dict[str, Any], left: int, top: int, where: str) -> dict[str, Any] | None:
        """A PNG of the mask's own frame; None where it cannot be used."""
        size_hw = self.size()
        if size_hw is None or size_hw[0] * size_hw[1] > MAX_PIXELS:
            return self._note("outline-invalid", f"{where}: a mask in an image of unknown size")
        try:
            inner = np.any(decode_image(_from_base64(shape.get("mask")), "its PNG") > 0, axis=2)
        except UserError as error:
            return self._note("outline-invalid", f"{where}: {error}")
        return placed_mask(inner, left, top, size_hw)


def _joined(first: Annotation, second: Annotation) -> Annotation:
    """One object of two parts."""
    shapes = [_shape_of(first), _shape_of(second)]
    runs: list[Any] = [shape for shape in shapes if isinstance(shape, dict)]
    if not runs:
        return replace(first, bbox=None, segmentation=shapes[0] + shapes[1])
    size_hw = runs[0]["size"]
    for part in (part for shape in shapes if isinstance(shape, list) for part in shape):
        if len(part) >= 6 and len(part) % 2 == 0 and all(map(is_coordinate, part)):
            runs += coco_mask.frPyObjects([part], *size_hw)
    counts = coco_mask.merge(runs)["counts"].decode("ascii")
    return replace(first, bbox=None, segmentation={"size": size_hw, "counts": counts})


def _shape_of(found: Annotation) -> Any:
    if found.segmentation is not None:
        return found.segmentation
    x, y, w, h = found.bbox
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def kind_of(shape: Any) -> str | None:
    """What a shape is, where it is read as an object; early versions have polygons alone, unnamed."""
    kind = (shape.get("shape_type") or "polygon") if isinstance(shape, dict) else None
    return kind if kind in SHAPES else None


def class_name(label: Any) -> str | None:
    """The class of a label; None where it has none, or stands for void."""
    if label in VOID_LABELS or not (isinstance(label, str) or is_coordinate(label)):
        return None
    return str(label).strip() or None


def _from_base64(text: Any) -> bytes:
    """Raises UserError: it is no base64."""
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=False)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"no base64 ({error})") from None
