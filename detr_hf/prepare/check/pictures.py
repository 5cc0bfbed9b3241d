"""One picture with its objects: what the reader says of it, and what it would swallow and learn wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.images import decode_image, image_size
from detr_hf.prepare.check.boxes import box_faults, kept_boxes
from detr_hf.prepare.check.outlines import box_disagrees, outline_faults
from detr_hf.prepare.check.rules import CODE_OF_NOTE
from detr_hf.prepare.findings import Fault
from detr_hf.prepare.rows import RowMaker, turned_by_exif
from detr_hf.prepare.source import SourceImage, SourceObject

UNREADABLE = {"image-missing", "image-unreadable"}
DRAWN_ELSEWHERE = {"exif-boxes", "size-boxes"}
CONSEQUENCES = {"box-clipped", "box-outside", "polygon-invalid", "rle-invalid", "box-tiny"}

NO_CLASS = -1
"""The class of objects whose category is in no label map; they are found faulty as a whole."""


@dataclass(frozen=True)
class Inspection:
    """What was found in one picture.

    Attributes:
        size_hw: true pixels, upright; None where the file cannot be opened.
        sha256: of the file; empty where it cannot be opened.
        classes: the class id of each object; None where it has none.
        row: as the reader makes it; None where a run would stop.
    """

    source: SourceImage
    found: list[Fault]
    size_hw: tuple[int, int] | None = None
    sha256: str = ""
    classes: tuple[int | None, ...] = ()
    row: dict[str, Any] | None = None

    @property
    def codes(self) -> set[str]:
        return {fault.code for fault in self.found}


@dataclass(frozen=True)
class Inspector:
    """Checks pictures; thread safe, and never raises for what is in the data.

    Args:
        classes: class id of each source category, None for void ones, ``NO_CLASS`` where there is none.
        things: the class ids of things.
        queries: objects that the model can find in one picture.
        painted: run-length crowds are so frequent in the data that they are probably single objects.
    """

    classes: dict[int, int | None]
    things: frozenset[int]
    queries: int
    painted: bool = False

    def __call__(self, source: SourceImage) -> Inspection:
        row, findings = RowMaker(self.classes, with_pictures=False)(source)
        found = [*findings.faults, *(Fault(CODE_OF_NOTE[kind], where) for kind, where in findings.notes)]
        classes = tuple(self._class_of(known) for known in source.objects)
        if UNREADABLE & {fault.code for fault in found}:
            return Inspection(source, found, classes=classes)
        size_hw = image_size(source.image)
        found += _pixel_faults(source)
        found += [
            Fault(fault.code, f"{source.name}: {fault.text}") for fault in self._more(source, size_hw, row)
        ]
        if DRAWN_ELSEWHERE & {fault.code for fault in found}:  # what follows from that is no news
            found = [fault for fault in found if fault.code not in CONSEQUENCES]
        return Inspection(source, found, size_hw, _hash(source.image), classes, row)

    def _class_of(self, known: SourceObject) -> int | None:
        index = self.classes.get(known.category) if type(known.category) is int else None
        return None if index == NO_CLASS else index

    def _more(
        self, source: SourceImage, size_hw: tuple[int, int], row: dict[str, Any] | None
    ) -> Iterator[Fault]:
        single = [known for known in source.objects if not known.iscrowd]
        if len(single) > self.queries:
            yield Fault("too-many-objects", f"{len(single)} objects, {self.queries} queries")
        for known in source.objects:
            if known.iscrowd:
                painted = self.painted and isinstance(known.segmentation, dict)
                yield Fault("crowd-rle" if painted else "crowd", known.where)
        if source.panoptic is not None:
            yield from _counted_otherwise(source, row, self.things) if row else ()
            return
        for known in source.objects:
            for fault in outline_faults(known.segmentation, size_hw):
                yield Fault(fault.code, f"{known.where}: {fault.text}")
            if not known.iscrowd and box_disagrees(known.bbox, known.segmentation):
                yield Fault("box-polygon", f"{known.where}: box {known.bbox}")
        yield from box_faults(kept_boxes(source.objects, size_hw))


def _pixel_faults(source: SourceImage) -> Iterator[Fault]:
    try:
        decode_image(source.image, source.file_name)
    except UserError as fault:
        yield Fault("image-damaged", f"{source.name}: {fault}")
    if turned_by_exif(source.image):
        yield Fault("exif-turned", source.name)


def _hash(image: Path | bytes) -> str:
    return sha256_of(image) if isinstance(image, Path) else sha256(image).hexdigest()


def _counted_otherwise(source: SourceImage, row: dict[str, Any], things: frozenset[int]) -> Iterator[Fault]:
    """Segments whose area or box is not what the PNG holds, and things that are slivers."""
    said = {known.id: known for known in source.objects}
    held = row["objects"]
    for number, box, area, index in zip(
        held["id"], held["bbox"], held["area"], held["category"], strict=True
    ):
        known = said[number]
        if known.area is not None and known.area != area:
            yield Fault("png-area", f"{known.where}: {known.area} in the JSON, {area:.0f} in the PNG")
        if known.bbox is not None and not _near(known.bbox, box):
            yield Fault("png-box", f"{known.where}: {known.bbox} in the JSON, {box} in the PNG")
        if index in things and min(box[2:]) < 2:
            yield Fault("box-tiny", f"{known.where}: {box}")


def _near(said: Any, counted: list[float]) -> bool:
    try:
        return len(said) == 4 and all(abs(a - b) <= 1 for a, b in zip(said, counted, strict=True))
    except TypeError:
        return False
