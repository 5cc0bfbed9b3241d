"""All that can be wrong with data, once, each fault named; `messy_sets` writes it in three formats."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from tests.raw_factories import (
    FAR_SQUARE,
    SIZE_HW,
    SQUARE,
    painted_square,
    photo,
    png_header,
)

Expected = set[tuple[str, str]]
"""(kind of issue, file)"""

NAN = float("nan")
SAME = "as COCO"
LYING_ON_ITS_SIDE = 6  # the EXIF orientation of an image that is to be turned clockwise
UNLISTED = object()


@dataclass(frozen=True)
class Mess:
    """One image of a group, and what is wrong with it.

    Attributes:
        name: of its file; what lies there is made by ``save``.
        codes: of the issues that a COCO file gives for it.
        yolo: the same of a YOLO folder; None where the format cannot hold the fault.
        said: what the annotations call it, where that is not its name; ``UNLISTED`` where they don't.
        hw: the size that they declare.
        objects: changes of a square, in COCO's terms, of each object.
        lines: what a YOLO file has instead of these.
        entry: more of COCO's entry of the image.
    """

    name: str
    codes: str = ""
    yolo: str | None = SAME
    said: Any = None
    hw: tuple[Any, Any] | None = SIZE_HW
    objects: tuple[dict[str, Any], ...] = ({},)
    lines: str | None = None
    save: Callable[[Image.Image, Path], object] | None = lambda image, path: image.save(path)
    entry: dict[str, Any] = field(default_factory=dict)

    def said_below(self, folder: str) -> Any:
        """What the annotations of a format call it whose names begin with this folder."""
        said = self.name if self.said is None else self.said
        is_relative = isinstance(said, str) and said[0] != "/" and "://" not in said
        return f"{folder}{said}" if is_relative else said

    def expected(self, codes: str, folder: str, shown: Any) -> Expected:
        """The issues of these codes, under the file's name or what is shown instead."""
        return {(code, f"{folder}{self.name}" if self.name else shown) for code in codes.split()}


def _as(mode: str) -> Callable[[Image.Image, Path], object]:
    return lambda image, path: image.convert(mode).save(path)


def _in_16_bits(image: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def _on_its_side(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = LYING_ON_ITS_SIDE
    image.save(path, exif=exif)


def _cut_off(image: Image.Image, path: Path) -> None:
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _holding(content: bytes) -> Callable[[Image.Image, Path], object]:
    return lambda image, path: path.write_bytes(content)


def _link_to(target: str) -> Callable[[Image.Image, Path], object]:
    return lambda image, path: path.symlink_to(target)


def _link_out(image: Image.Image, path: Path) -> None:
    secret = path.parents[3] / "secret.jpg"  # beside the data's folder, in every format
    image.save(secret)
    path.symlink_to(secret)


def _copy(image: Image.Image, path: Path) -> None:
    """The bytes of the first image of all."""
    photo(0).save(path)


def _gone(name: Any, codes: str, yolo: str | None = SAME) -> Mess:
    return Mess("", codes, yolo, said=name, save=None)


def _faulty(name: str, codes: str, yolo: str | None = SAME, **changes: Any) -> Mess:
    """An object with a fault, behind one without; ``lines`` as YOLO has it."""
    lines = changes.pop("lines", None)
    return Mess(f"{name}.jpg", codes, yolo, objects=({"segmentation": [FAR_SQUARE]}, changes), lines=lines)


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Gerüst Café.jpg") for form in ("NFC", "NFD"))

NAMES = [
    *(Mess(name) for name in ("001.jpg", "chiller (27).jpg", "50% [done].jpg", "back\\slash.jpg")),
    Mess("a.png", "file-renamed", said="a.jpg"),
    Mess("b.jpg", "file-renamed", said="b.png"),
    Mess("c.JPG", "file-renamed", said="c.jpg"),
    Mess("d.jpeg", "file-renamed", said="d.jpg"),
    Mess("e.jpg", "file-renamed", said="images/e.jpg"),
    Mess("f 1.jpg", "file-renamed", said="https://example.org/data/f%201.jpg?size=full"),
    Mess("below/g.jpg", said="below\\g.jpg"),
    Mess(DECOMPOSED, "file-renamed", said=COMPOSED),
    Mess("L.png", "not-rgb", save=_as("L")),
    Mess("P.png", "not-rgb", save=_as("P")),
    Mess("RGBA.png", "not-rgb", save=_as("RGBA")),
    Mess("CMYK.jpg", "not-rgb", save=_as("CMYK")),
    Mess("16 bits.png", "not-rgb", save=_in_16_bits),
    Mess("nothing.jpg", "no-objects", objects=()),
    Mess("unknown.jpg", "unlisted", said=UNLISTED),
    Mess("two.png", "unlisted", said=UNLISTED),
    Mess("two.bmp", "unlisted", said=UNLISTED),
    _gone("two.jpg", "image-ambiguous"),
    _gone("never uploaded.jpg", "image-missing"),
]
"""Files that are called otherwise than the annotations say, and kinds of pixels."""

ODD = [
    *(Mess(name) for name in ("Same.jpg", "same.jpg", "-rf.jpg", "two.dots.jpg", "space .jpg", "#1.jpg")),
    *(
        Mess(name)
        for name in ("line\nbreak.jpg", "color\x1b[31m.jpg", "no_utf-8_\udce9.jpg", f"{'y' * 250}.jpg")
    ),
    Mess("link.jpg", "image-link", said=UNLISTED, save=_link_out),
    Mess("no suffix", yolo=None, save=lambda image, path: image.save(path, "JPEG")),
]
"""Names that a file can have, and links; YOLO's are read from their folder."""

HOSTILE = [
    Mess("good.jpg"),
    Mess("second.jpg"),
    Mess("link.jpg", "image-link", save=_link_out),
    Mess("loop.jpg", "image-missing", save=_link_to("loop.jpg")),
    Mess("nowhere.jpg", "image-missing", save=_link_to("not there.jpg")),
    Mess("folder.jpg", "image-missing", save=lambda image, path: path.mkdir()),
    Mess("half.jpg", "image-damaged", save=_cut_off),
    Mess("text.jpg", "image-unreadable", save=_holding(b"no picture")),
    Mess("empty.jpg", "image-unreadable", save=_holding(b"")),
    Mess("bomb.png", "image-unreadable", save=_holding(png_header(100_000, 100_000))),
    Mess("pipe.jpg", "image-unreadable", save=lambda image, path: os.mkfifo(path)),
    _gone("../secret.jpg", "file-name"),
    _gone("/etc/passwd", "image-missing"),
    _gone(f"{'x' * 300}.jpg", "file-name"),
    _gone(17, "file-name", None),
]
"""Names and files that are not to be opened, or cannot be."""

SIZES = [
    Mess("001.jpg"),
    Mess("measured.jpg", "size-missing", None, hw=None),
    Mess("unknown.jpg", "size-missing", None, hw=(-1, -1)),
    Mess("wrong.jpg", "size-differs", None, hw=(48, 50)),
    Mess("endless.jpg", "size-differs", None, hw=(10**400, 64)),
    Mess("text.jpg", "odd-type", None, hw=("48", "64")),
    Mess(
        "half.jpg",
        "size-scaled",
        None,
        hw=(24, 32),
        objects=({"segmentation": [[value / 2 for value in SQUARE]]},),
    ),
    Mess(
        "conflict.jpg",
        "size-boxes",
        None,
        hw=(300, 200),
        objects=({"segmentation": [[100.0, 100.0, 190.0, 100.0, 190.0, 290.0]]},),
    ),
    Mess(
        "upright.jpg",
        "exif-turned",
        hw=(64, 48),
        objects=({"segmentation": [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0]]},),
        save=_on_its_side,
    ),
    Mess("stored.jpg", "exif-turned exif-boxes", None, save=_on_its_side),
]
"""Declared sizes that are not the file's, and EXIF rotation."""

SHAPES = [
    _faulty(
        "few_points",
        "outline-invalid rectangle",
        "entry-invalid",
        segmentation=[[1.0, 1.0, 9.0, 9.0]],
        lines="0 0.5 0.5",
    ),
    _faulty(
        "bad_numbers",
        "outline-invalid rectangle",
        "outline-invalid no-shape",
        segmentation=[[1.0, 1.0, 9.0, NAN, 5.0, 5.0]],
    ),
    _faulty(
        "far_out",
        "outline-invalid box-outside",
        "box-malformed",
        segmentation=[[900.0, 900.0, 950.0, 900.0, 950.0, 950.0]],
    ),
    _faulty(
        "outside",
        "outline-invalid box-outside",
        "outline-invalid no-shape",
        segmentation=[[70.0, 10.0, 80.0, 10.0, 80.0, 20.0]],
    ),
    _faulty(
        "no_area",
        "outline-invalid rectangle",
        "outline-invalid no-shape",
        segmentation=[[1.0, 1.0, 5.0, 5.0, 9.0, 9.0]],
    ),
    _faulty(
        "clipped",
        "box-clipped outline-clipped",
        "outline-clipped",
        segmentation=[[-20.0, 10.0, 30.0, 10.0, 30.0, 30.0, -20.0, 30.0]],
    ),
    _faulty("crossing", "outline-crossing", segmentation=[[10.0, 10.0, 40.0, 40.0, 40.0, 10.0, 10.0, 40.0]]),
    _faulty("rectangle", "rectangle", segmentation=[]),
    _faulty("box_clipped", "box-clipped rectangle", segmentation=[], bbox=[-9.0, 10.0, 30.0, 20.0]),
    _faulty("box_outside", "box-outside", segmentation=[], bbox=[70.0, 10.0, 20.0, 20.0]),
    _faulty("box_empty", "box-empty", segmentation=[], bbox=[10.0, 10.0, 0.0, 20.0]),
    _faulty("box_nan", "box-malformed", segmentation=[], bbox=[10.0, NAN, 20.0, 20.0]),
    _faulty(
        "box_endless",
        "box-malformed",
        segmentation=[],
        bbox=[10.0, 10**400, 20.0, 20.0],
        lines=f"0 0.5 {10**400} 0.1 0.1",
    ),
    _faulty("box_mended", "box-from-outline", None, bbox=[10.0, NAN, 20.0, 20.0]),
    _faulty("no_shape", "no-shape", "entry-invalid", segmentation=[], bbox=[], lines="0"),
    _faulty("repeated", "object-twice", segmentation=[FAR_SQUARE]),
    _faulty("unknown_category", "category-unknown", category_id=99),
    _faulty("endless_category", "category-unknown", None, category_id=2**80),
    _faulty("text", "odd-type", None, bbox=["10", "10", "30", "20"]),
    _faulty("commas", "", "entry-invalid", lines="0 0,5 0,5 0,25 0,25 0,5 0,75"),
    _faulty("long_id", "annotation-id", None, id=2**63),
    _faulty(
        "bad_mask",
        "painted rle-invalid rectangle",
        None,
        segmentation={"size": list(SIZE_HW), "counts": [5, 1]},
        iscrowd=1,
    ),
    _faulty(
        "painted",
        "painted",
        None,
        segmentation=painted_square(),
        iscrowd=1,
        bbox=[20.0, 10.0, 20.0, 20.0],
        area=400.0,
    ),
    _faulty("crowd", "", None, iscrowd=1),
    Mess("twice.jpg", "image-twice"),
    Mess("twice.jpg", save=None, objects=({"segmentation": [FAR_SQUARE]},)),
    Mess("contested_1.jpg", "image-id", None, entry={"id": 777}, objects=()),
    Mess("contested_2.jpg", "image-id", None, entry={"id": 777}, objects=()),
    Mess("long id.jpg", entry={"id": 2**63 - 1}),
    Mess("odd id.jpg", "odd-type", None, entry={"id": 5e8}),
    Mess("copy.jpg", save=_copy),
]
"""Every fault of an annotation, each in an image of its own."""

ODD_FOLDER = "chiller_(odd names)"
GROUPS = {
    "chiller": ("chiller", NAMES),
    "lime_(todo)": ("lime", HOSTILE),
    "concrete_pump_(50%)": ("concrete_pump", SIZES),
    "marble": ("marble", SHAPES),
    ODD_FOLDER: ("chiller", ODD),
}
"""Class and messes of each folder."""
