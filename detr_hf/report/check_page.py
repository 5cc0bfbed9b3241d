"""The page of `detr-hf check --html`: one file without scripts that needs no network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.images import decode_id_map, decode_image
from detr_hf.prepare.check.ledger import CheckResult, Sample
from detr_hf.prepare.check.pictures import Inspection
from detr_hf.prepare.check.rules import ERROR, INFO, RULES
from detr_hf.prepare.check.text import verdict
from detr_hf.prepare.rows import is_box
from detr_hf.templating import render_html
from detr_hf.visualize.panoptic import painted

FILES_SHOWN = 100
EXAMPLES_SHOWN = 20  # of one file
FAULTS_SHOWN = 12  # of one image
MARGIN = 0.06  # of an image, on all sides, where boxes show that reach out of it
BAD_INK, GOOD_INK = (0xE1, 0x1D, 0x1D), (0x2F, 0x6F, 0xDE)


@dataclass(frozen=True)
class Frame:
    """A box over an image: (left, top, width, height) in its pixels, what it frames, where that stands."""

    box: tuple[float, float, float, float]
    name: str
    where: str
    ink: str


@dataclass(frozen=True)
class Drawing:
    """An image with its frames; ``rim`` is the room around it, across and down, in its own pixels."""

    image: NDArray[np.uint8]
    frames: list[Frame]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def rim(self) -> tuple[float, float]:
        return MARGIN * self.width, MARGIN * self.height


def write_page(result: CheckResult, path: str | Path) -> None:
    """Write the page: summary, findings, classes, and the worst images with their boxes.

    Raises:
        UserError: the file cannot be written.
    """
    counts = [(name, list(held.values())) for name, held in result.class_counts()]
    page = render_html(
        "check.html",
        result=result,
        verdict=verdict(result),
        is_bad=result.ledger.count_of(ERROR) > 0,
        splits=[[name, held.images, held.objects, held.crowd] for name, held in result.splits.items()],
        kinds=result.ledger.kinds(),
        figures=[_figure(sample, result) for sample in result.samples],
        classes=[(name, held) for name, held in counts if any(held)],
        most=max((number for _, held in counts for number in held), default=0) or 1,
        empty=[name for name, held in counts if not any(held)],
        files_shown=FILES_SHOWN,
        examples_shown=EXAMPLES_SHOWN,
    )
    write_text(path, page)


def _figure(sample: Sample, result: CheckResult) -> tuple[str, Drawing | None, list[tuple[str, str]], int]:
    """Name, drawing, the first faults with their codes, and how many more there are."""
    seen = sample.inspection
    prefix = re.compile(f"^{re.escape(seen.source.name)}[:,] ")
    faults = [
        (fault.code, prefix.sub("", fault.text)) for fault in seen.found if RULES[fault.code].severity != INFO
    ]
    names = result.labels.names if result.labels else ()
    title = f"{sample.split} {seen.source.file_name}"
    return title, _drawing(seen, names), faults[:FAULTS_SHOWN], max(0, len(faults) - FAULTS_SHOWN)


def _drawing(seen: Inspection, names: tuple[str, ...]) -> Drawing | None:
    try:
        pixels = decode_image(seen.source.image, seen.source.file_name)
    except UserError:
        return None
    height, width = pixels.shape[:2]
    bad = _with_a_fault(seen)
    return Drawing(_overlaid(seen, pixels, bad), list(_frames(seen, names, (height, width), bad)))


def _frames(
    seen: Inspection, names: tuple[str, ...], size_hw: tuple[int, int], faulty: list[bool]
) -> Iterator[Frame]:
    """The boxes of one image, held back at its rim; red ones last, so that they lie on top."""
    height, width = size_hw
    counted = (
        dict(zip(seen.row["objects"]["id"], seen.row["objects"]["bbox"], strict=True)) if seen.row else {}
    )
    is_panoptic = seen.source.panoptic is not None
    known_ones = zip(seen.source.objects, seen.classes, faulty, strict=True)
    for known, index, bad in sorted(known_ones, key=lambda one: one[2]):
        recounted = is_panoptic and type(known.id) is int
        box = counted.get(known.id, known.bbox) if recounted else known.bbox
        if not is_box(box) or not all(map(math.isfinite, box)):
            continue
        x0, x1 = sorted((_within(box[0], width), _within(box[0] + box[2], width)))
        y0, y1 = sorted((_within(box[1], height), _within(box[1] + box[3], height)))
        ink = "#{:02x}{:02x}{:02x}".format(*(BAD_INK if bad else GOOD_INK))
        name = names[index] if index is not None else f"category {known.category}"
        yield Frame((x0, y0, x1 - x0, y1 - y0), name, known.where, ink)


def _with_a_fault(seen: Inspection) -> list[bool]:
    """Of each object, whether a finding that counts names it."""
    grave = " \n".join(fault.text for fault in seen.found if RULES[fault.code].severity != INFO)
    return [re.search(rf"{re.escape(known.where)}(?!\w)", grave) is not None for known in seen.source.objects]


def _within(value: float, edge: int) -> float:
    """A coordinate, held back at the rim around the image."""
    return min(max(float(value), -MARGIN * edge), (1 + MARGIN) * edge)


def _overlaid(seen: Inspection, pixels: NDArray[np.uint8], bad: list[bool]) -> NDArray[np.uint8]:
    """The image, in panoptic sets with its segments in the ink of their boxes where the PNG fits it."""
    if seen.source.panoptic is None:
        return pixels
    try:
        id_map = decode_id_map(seen.source.panoptic)
    except UserError:
        return pixels
    if id_map.shape != pixels.shape[:2]:
        return pixels
    known_ones = zip(seen.source.objects, bad, strict=True)
    faulty = {known.id: is_bad for known, is_bad in known_ones if type(known.id) is int}
    inks = {one: BAD_INK if faulty.get(one, True) else GOOD_INK for one in np.unique(id_map).tolist() if one}
    return np.asarray(painted(Image.fromarray(pixels), id_map.astype(np.int64), inks))
