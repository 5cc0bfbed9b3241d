"""CVAT's files: "CVAT for images 1.1" (XML), its "COCO 1.0" zip, and the labels of a task; image by image.

Formats: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and
https://docs.cvat.ai/docs/manual/advanced/formats/format-coco/
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.coco_files import CocoSplit
from detr_hf.errors import UserError

SCORE = "score"

FIRST_ID = 1_000_000_000
"""CVAT puts an image whose name its task lacks on the frame of this number; there is none, so it refuses."""

ZIP_MEMBER = "annotations/instances_default.json"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Category = Mapping[str, Any]


def cvat_labels(categories: Iterable[Category]) -> list[dict[str, Any]]:
    """The classes as the "Raw" tab of CVAT's label editor takes them, with a text attribute for the score.

    CVAT's numbers are whole ones, and it drops attributes that a label lacks.
    """
    attribute = {"name": SCORE, "mutable": False, "input_type": "text", "default_value": "", "values": []}
    return [
        {"name": one["name"], "color": _color(one), "type": "any", "attributes": [attribute]}
        for one in categories
    ]


class CvatXml:
    """Writes "CVAT for images 1.1"; boxes, and of objects with polygons these, with their scores.

    Args:
        out: a text file in UTF-8.
        categories: ``name`` and ``color``.

    Raises:
        UserError: XML cannot hold a class name.
    """

    def __init__(self, out: TextIO, categories: Iterable[Category]) -> None:
        self._out, self._images = out, 0
        labels = "\n".join(_label(category) for category in categories)
        out.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        out.write(f"<meta><task><labels>\n{labels}\n</labels></task></meta>\n")

    def add(self, sample: Sample) -> None:
        """One image.

        Raises:
            UserError: XML cannot hold its name; nothing of it is written.
        """
        assert sample.size_hw is not None
        height, width = sample.size_hw
        name = quoteattr(xml_text(sample.file_name, "image name"))
        shapes = "".join(f"{shape}\n" for found in sample.objects for shape in _shapes(found))
        number = FIRST_ID + self._images
        self._images += 1
        head = f'<image id="{number}" name={name} width="{width}" height="{height}">'
        self._out.write(f"{head}\n{shapes}</image>\n")

    def finish(self) -> None:
        """The end of the file."""
        self._out.write("</annotations>\n")


class CvatZip:
    """Writes CVAT's "COCO 1.0" zip, which CVAT and datumaro also read unpacked.

    Args:
        file: the zip.
        categories: ``id`` and ``name``.
    """

    def __init__(self, file: Path, categories: Iterable[Category]) -> None:
        self._file, self._categories = file, list(categories)
        self._member = file.with_name(f"{file.name}.json.part")
        self._coco = CocoSplit(
            file.with_name(f"{file.name}.parts"), {one["name"]: one["id"] for one in self._categories}
        )

    def add(self, sample: Sample) -> None:
        """One image."""
        scored = [
            replace(found, extra={**found.extra, "attributes": {SCORE: found.score}})
            for found in sample.objects
        ]
        self._coco.add_image(sample, sample.file_name)
        self._coco.add_boxes(sample.image_id, scored)

    def finish(self) -> None:
        """The zip itself."""
        self._coco.write(self._categories, detection=self._member.name)
        made = self._coco.folder / self._member.name
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(made, ZIP_MEMBER)

    def close(self) -> None:
        """What was gathered is removed."""
        self._coco.close()
        (self._coco.folder / self._member.name).unlink(missing_ok=True)
        self._coco.folder.rmdir()


def xml_text(text: str, what: str) -> str:
    """The text as it is; Raises UserError: XML has no way to write one of its characters."""
    if found := _NO_XML.search(text):
        raise UserError(f"{what} {text!r}: XML cannot hold the character {found[0]!r}; rename it")
    return text


def _label(category: Category) -> str:
    name = escape(xml_text(category["name"], "class"), {"\r": "&#13;"})
    attribute = (
        f"<attribute><name>{SCORE}</name><mutable>False</mutable><input_type>text</input_type>"
        "<default_value></default_value><values></values></attribute>"
    )
    return (
        f"<label><name>{name}</name><color>{_color(category)}</color><type>any</type>"
        f"<attributes>{attribute}</attributes></label>"
    )


def _color(category: Category) -> str:
    return "#{:02x}{:02x}{:02x}".format(*category["color"])


def _shapes(found: Annotation) -> Iterable[str]:
    """Elements: the polygons, or the box."""
    shared = f'label={quoteattr(found.category or "")} source="auto" occluded="0" z_order="0"'
    score = "" if found.score is None else f'<attribute name="{SCORE}">{found.score}</attribute>'
    for points in found.segmentation or ():
        pairs = zip(points[::2], points[1::2], strict=True)
        text = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)
        yield f'<polygon {shared} points="{text}">{score}</polygon>'
    if not found.segmentation:
        x, y, w, h = found.bbox
        corners = f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + w:.2f}" ybr="{y + h:.2f}"'
        yield f"<box {shared} {corners}>{score}</box>"
