"""The page of `detr-hf check --html`: one file without scripts that needs no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.boxes import is_box
from detr_hf.data.check import CheckResult, Seen
from detr_hf.data.check_text import verdict
from detr_hf.data.issues import ERROR, INFO
from detr_hf.data.rows import with_classes
from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.images import decode_id_map, decode_image
from detr_hf.labels import LabelMap
from detr_hf.templating import render_html
from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.frames import MARGIN, Drawing, Frame
from detr_hf.visualize.panoptic import draw_panoptic, painted

FILES_SHOWN = 100
EXAMPLES_SHOWN = 20  # of one file
FAULTS_SHOWN = 12  # of one image
BAD_INK, GOOD_INK = (0xE1, 0x1D, 0x1D), (0x2F, 0x6F, 0xDE)


def write_page(result: CheckResult, path: str | Path) -> None:
    """Write the page: summary, findings, classes, the worst images, and typical ones as training reads them.

    Raises:
        UserError: the file cannot be written.
    """
    counts = [(name, list(held.values())) for name, held in result.class_counts()]
    report = result.report
    page = render_html(
        "check.html",
        result=result,
        verdict=verdict(result),
        is_bad=report.count_of(ERROR) > 0,
        splits=[[name, held.images, held.objects, held.crowd] for name, held in result.splits.items()],
        kinds=[(kind, report.count(kind.code), report.places(kind.code)) for kind in report.kinds()],
        figures=[_figure(seen, result.labels) for seen in result.samples],
        typical=[(seen, _as_read(seen, result.labels)) for seen in result.typical if result.labels],
        classes=[(name, held) for name, held in counts if any(held)],
        most=max((number for _, held in counts for number in held), default=0) or 1,
        empty=[name for name, held in counts if not any(held)],
        files_shown=FILES_SHOWN,
        examples_shown=EXAMPLES_SHOWN,
    )
    write_text(path, page)


def _figure(seen: Seen, labels: LabelMap | None) -> tuple[str, Drawing | None, list[tuple[str, str]], int]:
    """Name, drawing, the first issues with their codes, and how many more there are."""
    found = [(issue.code, issue.text) for issue in seen.issues if issue.kind.severity != INFO]
    title = f"{seen.split} {seen.sample.file_name}"
    return title, _drawing(seen, labels), found[:FAULTS_SHOWN], max(0, len(found) - FAULTS_SHOWN)


def _as_read(seen: Seen, labels: LabelMap) -> Image.Image | None:
    """The repaired image with its segments, or its boxes; None where its files cannot be read any more."""
    assert seen.repaired.sample is not None, "a typical image is one that training reads"
    sample, _ = with_classes(seen.repaired.sample, labels)
    assert sample.image is not None, "an image without a file is dropped"
    single = [one for one in sample.objects if not one.iscrowd]
    classes = [labels.label2id[one.category or ""] for one in single]
    try:
        pixels = decode_image(sample.image, sample.file_name)
        if sample.id_map is None:
            boxes = boxes_xywh_to_xyxy(np.array([one.bbox for one in single], np.float64).reshape(-1, 4))
            return draw_detections(pixels, UnscoredBoxes(boxes, np.array(classes)), labels)
        id_map = decode_id_map(sample.id_map() if callable(sample.id_map) else sample.id_map)
    except UserError:
        return None
    segments = [(one.id, label, None) for one, label in zip(single, classes, strict=True)]
    return draw_panoptic(pixels, id_map, segments, labels)


def _drawing(seen: Seen, labels: LabelMap | None) -> Drawing | None:
    if seen.sample.image is None:
        return None
    try:
        pixels = decode_image(seen.sample.image, seen.sample.file_name)
    except UserError:
        return None
    height, width = pixels.shape[:2]
    faulty = _with_an_issue(seen)
    stuff = {labels.names[one] for one in labels.stuff_ids} if labels is not None else set()
    frames = sorted(_frames(seen, (height, width), faulty, stuff), key=lambda frame: not frame.is_faint)
    return Drawing(_overlaid(seen, pixels, faulty), frames)


def _frames(seen: Seen, size_hw: tuple[int, int], faulty: set[str], stuff: set[str]) -> Iterator[Frame]:
    """The boxes of one image, held back at its rim; red ones last, so that they lie on top.

    Boxes are those of the source, and of an id map as counted in it.
    """
    height, width = size_hw
    repaired = seen.repaired.sample
    objects = repaired.objects if repaired and repaired.id_map is not None else seen.sample.objects
    for found in sorted(objects, key=lambda one: one.where in faulty):
        box = found.bbox
        if not is_box(box):
            continue
        x0, x1 = sorted((_within(box[0], width), _within(box[0] + box[2], width)))
        y0, y1 = sorted((_within(box[1], height), _within(box[1] + box[3], height)))
        ink = "#{:02x}{:02x}{:02x}".format(*(BAD_INK if found.where in faulty else GOOD_INK))
        name = found.category or f"category {str(found.category_id)[:50]}"
        is_faint = name in stuff and found.where not in faulty
        yield Frame((x0, y0, x1 - x0, y1 - y0), name, found.where, ink, is_faint)


def _with_an_issue(seen: Seen) -> set[str]:
    """Which objects an issue that counts names, by ``where``."""
    grave = " \n".join(issue.text for issue in seen.issues if issue.kind.severity != INFO)
    names = {found.where for found in seen.sample.objects if found.where}
    return {name for name in names if re.search(rf"{re.escape(name)}(?!\w)", grave) is not None}


def _within(value: float, edge: int) -> float:
    """A coordinate, held back at the rim around the image."""
    return min(max(float(value), -MARGIN * edge), (1 + MARGIN) * edge)


def _overlaid(seen: Seen, pixels: NDArray[np.uint8], faulty: set[str]) -> NDArray[np.uint8]:
    """The image, in panoptic sets with its segments in the ink of their boxes where the PNG fits it."""
    id_map_of = seen.sample.id_map
    if id_map_of is None:
        return pixels
    try:
        id_map = decode_id_map(id_map_of() if callable(id_map_of) else id_map_of)
    except UserError:
        return pixels
    if id_map.shape != pixels.shape[:2]:
        return pixels
    bad = {one.id: one.where in faulty for one in seen.sample.objects if type(one.id) is int}
    inks = {one: BAD_INK if bad.get(one, True) else GOOD_INK for one in np.unique(id_map).tolist() if one}
    faint = [one for one, ink in inks.items() if ink == GOOD_INK]
    return np.asarray(painted(Image.fromarray(pixels), id_map.astype(np.int64), inks, faint))
