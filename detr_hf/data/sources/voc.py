"""Pascal VOC: an XML file of boxes for each image.

Its specification: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. What else is read
so: exports of labelImg, CVAT ("PASCAL VOC 1.1"), Roboflow, supervision, RectLabel, LabelMe's XML. The image
of a file is the one of the same name, as all of these have it; else the one that the file names.

Corners. The devkit counts pixels from 1 and names the last one inside: (1, 1, W, H) is the whole image, and
x = xmin - 1, w = xmax - xmin + 1. labelImg, CVAT, datumaro and nearly all others write plain corners: x =
xmin, w = xmax - xmin. A file is read by the devkit's rule where its ``<source><database>`` is one of the
challenge's or Roboflow's (whose own library, supervision, reads and writes so) and none of its corners is
below 1; any other by the plain rule. A file that is read by the wrong rule is wrong by one pixel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from detr_hf.data.image_files import first_files
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, head_of
from detr_hf.data.sources.pairing import Entry, FilePerImage, Scan
from detr_hf.data.sources.splits import open_all
from detr_hf.data.sources.voc_files import KIND_FOLDERS, VocFiles, key_of
from detr_hf.data.xml_files import number_in, xml_elements
from detr_hf.errors import UserError

FORMAT = "voc"
TITLE = "Pascal VOC (an XML file an image)"
LOOKS_FOR = "Annotations/*.xml with JPEGImages, or images with an .xml beside each"
ORDER = 55

MAX_FILE_BYTES = 64_000_000
"""Largest annotation file of one image."""

NOT_TAKEN = ("robndbox", "part", "keypoints", "bezier", "cubic_bezier")
_COUNTS_FROM_1 = re.compile(r"\s*(The VOC ?20\d\d Database|roboflow)", re.IGNORECASE)
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def detect(path: Path) -> bool:
    """Whether one of the first XML files in the folder is one of Pascal VOC."""
    return path.is_dir() and any(map(_is_voc, first_files(path, ".xml")))


def _is_voc(path: Path) -> bool:
    head = head_of(path).replace(b"\0", b"")  # also in UTF-16
    return re.search(rb"<annotation[\s/>]", head) is not None


def open_splits(place: Place) -> Opened:
    """The image sets, or the folders that are named like splits, or all as "train".

    Raises:
        UserError: there is no XML file of Pascal VOC, or the folder is but that of the XML files.
    """
    return open_all(FORMAT, _Voc(place))


class _Voc(FilePerImage):
    """A folder with Pascal VOC's files."""

    suffix, what = ".xml", "XML file of Pascal VOC"

    def __init__(self, place: Place) -> None:
        layout = VocFiles(place)
        if place.path.name.lower() in KIND_FOLDERS and not layout.images.names:
            raise UserError(
                f"{place.name}: holds the XML files of Pascal VOC and no images; name the folder above, "
                f"{place.path.parent}, or the folder of their images, too (`images`)"
            )
        super().__init__(place, layout.files, layout.images)
        self.arrange(key_of, partial(layout.in_splits, kind="main"))
        layout.tell_skipped()
        self.found += layout.issues

    def _annotation(self, name: str) -> Element | None:
        """The ``<annotation>`` of a file; UserError as `xml_elements`, or it is too large for one image."""
        return next(xml_elements(self.folder / name, {"annotation"}, name, MAX_FILE_BYTES), None)

    def scan(self, name: str) -> Scan | None:
        annotation = self._annotation(name)
        if annotation is None:
            return None
        names = [(annotation.findtext(tag) or "").strip() for tag in ("filename", "path")]
        classes = ((one.findtext("name") or "").strip() for one in annotation.iterfind("object"))
        return Scan([*names, name.rpartition("/")[2][:-4]], {one for one in classes if one})

    def read(self, made: Sample, entry: Entry) -> Sample:
        annotation = self._annotation(str(entry.file))
        assert annotation is not None  # it was there when the file was scanned
        found = VocObjects(annotation, entry.file_name)
        size = _declared_size(annotation)
        return replace(made, objects=found.read(), declared_hw=size, issues=(*made.issues, *found.issues))


def _declared_size(annotation: Element) -> tuple[Any, Any] | None:
    """Height and width as they are declared, numbers where they spell any; None where it declares none."""
    said = [number_in(annotation.findtext(f"size/{tag}")) for tag in ("height", "width")]
    if all(value is None or value == 0 for value in said):
        return None
    height, width = (
        int(value) if isinstance(value, float) and value.is_integer() else value for value in said
    )
    return height, width


@dataclass
class VocObjects:
    """The objects of one file, and what was found wrong with them."""

    annotation: Element
    file: str
    issues: list[Issue] = field(default_factory=list)

    def read(self) -> list[Annotation]:
        offset = 1.0 if self._counts_from_1() else 0.0
        elements = enumerate(self.annotation.iterfind("object"), start=1)
        made = [self._object(element, number, offset) for number, element in elements]
        return [found for found in made if found is not None]

    def _counts_from_1(self) -> bool:
        if not _COUNTS_FROM_1.match(self.annotation.findtext("source/database") or ""):
            return False
        values = [number_in(box.findtext(tag)) for box in self.annotation.iter("bndbox") for tag in _CORNERS]
        return not any(isinstance(value, float) and value < 1 for value in values)

    def _note(self, code: str, text: str) -> None:
        self.issues.append(Issue(code, text, self.file))

    def _object(self, element: Element, number: int, offset: float) -> Annotation | None:
        where = f"object {number}"
        if _is_true(element.findtext("deleted")):  # LabelMe's XML keeps what was deleted
            self._note("not-taken", f"{where}: marked as deleted")
            return None
        for tag in NOT_TAKEN:
            if parts := element.findall(tag):
                self._note("not-taken", f"{where}: {len(parts)} <{tag}>")
        polygons = (self._outline(one, where, offset) for one in element.iterfind("polygon"))
        outlines = [outline for outline in polygons if outline]
        name = element.findtext("name") or ""
        return Annotation(
            id=number,
            category=name.strip() or None,
            bbox=self._box(element.find("bndbox"), where, offset),
            segmentation=outlines or None,
            # The challenge neither trains on difficult objects nor scores them; so it is with crowds.
            iscrowd=_is_true(element.findtext("difficult")),
            where=where,
            category_id=name,
            extra=_extra(element),
        )

    def _box(self, element: Element | None, where: str, offset: float) -> list[Any] | None:
        if element is None:
            return None
        values = [number_in(element.findtext(tag)) for tag in _CORNERS]
        if not all(isinstance(value, float) for value in values):
            return values  # for `repair` to tell
        x0, y0, x1, y1 = values
        if x0 > x1 or y0 > y1:
            self._note("box-corners", f"{where}: {x0:g}, {y0:g}, {x1:g}, {y1:g}")
            x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        # The last pixel inside, counted from 1, is the edge behind it, counted from 0.
        return [x0 - offset, y0 - offset, x1 - x0 + offset, y1 - y0 + offset]

    def _outline(self, element: Element, where: str, offset: float) -> list[Any]:
        """``<x1>``, ``<y1>``, ``<x2>`` ... (Roboflow, RectLabel), or ``<pt>`` with ``<x>`` and ``<y>``."""
        values: dict[str, list[Any]] = {"x": [], "y": []}
        for child in element.iter():
            if re.fullmatch(r"[xy]\d*", child.tag):
                value = number_in(child.text)
                values[child.tag[0]].append(value - offset if isinstance(value, float) else value)
        xs, ys = values["x"], values["y"]
        if len(xs) != len(ys) or not xs:
            self._note("outline-invalid", f"{where}: {len(xs)} x and {len(ys)} y in its <polygon>")
            return []
        return [value for point in zip(xs, ys, strict=True) for value in point]


def _extra(element: Element) -> dict[str, Any]:
    """``truncated``, ``pose``, ``occluded`` and what else is said of an object; CVAT's attributes."""
    extra: dict[str, Any] = {one.tag: (one.text or "").strip() for one in element if not len(one)}
    extra.pop("name", None)
    if attributes := element.findall("attributes/attribute"):
        extra["attributes"] = {one.findtext("name") or "": one.findtext("value") for one in attributes}
    return extra


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")
