"""COCO exports: detection JSON with an image folder, and panoptic JSON with a PNG folder and an image folder.

Formats: https://cocodataset.org/#format-data (object detection; panoptic segmentation). Of a detection file
    only the
boxes count; ``segmentation`` is not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.files import sha256_of
from detr_hf.foreign_files import inside, read_json
from detr_hf.prepare.findings import Report
from detr_hf.prepare.source import (
    MAX_JSON_BYTES,
    SourceImage,
    SourceObject,
    hash_of_folder,
    hash_of_words,
    require_folder,
)

NUMBERED_IDS = "image ids that are not whole numbers were replaced by numbers"


class CocoFile:
    """The parts that both kinds of COCO file share: categories, pictures and their ids.

    Args:
        annotations: the JSON file.
        images: the folder that ``file_name`` of an image is relative to.
        name: the recipe key of the source, for messages ("data.train").
    """

    pictures_apart = False

    def __init__(self, annotations: str, images: str, name: str) -> None:
        self.name = name
        self.annotations = Path(annotations)
        self.folder = require_folder(images, f"{name}.images")
        if not self.annotations.is_file():
            raise UserError(
                f"{name}.annotations: there is no file {annotations}; give the path of the COCO JSON"
            )

    def __len__(self) -> int:
        return len(self.content["images"])

    @cached_property
    def content(self) -> dict[str, Any]:
        """The JSON; its `images`, `annotations` and `categories` are lists of objects, all else unchecked.

        Raises:
            UserError: the file cannot be read, is no COCO file, or lists no image.
        """
        named = f"{self.name}.annotations: {self.annotations}"
        content = read_json(self.annotations, name=named, any_number=True, max_bytes=MAX_JSON_BYTES)
        for key in ("images", "annotations", "categories"):
            entries = content.get(key)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise UserError(
                    f"{self.name}.annotations: {self.annotations} has no list '{key}' of objects, as COCO has"
                )
        if not content["images"]:
            raise UserError(
                f"{self.name}.annotations: {self.annotations} lists no image; the data set is empty"
            )
        return content

    def categories(self) -> list[dict[str, Any]]:
        """The file's categories.

        Raises:
            UserError: there is none, or one lacks a whole-number id or a name.
        """
        entries = self.content["categories"]
        where = f"{self.name}.annotations: {self.annotations}"
        if not entries:
            raise UserError(f"{where} lists no categories")
        for entry in entries:
            if not isinstance(entry.get("id"), int) or not isinstance(entry.get("name"), str):
                raise UserError(f"{where}: category {entry!r} needs a whole number 'id' and a text 'name'")
        return entries

    def _numbered_images(self, report: Report) -> dict[str, tuple[int, dict[str, Any]]]:
        """(number, entry) of every image by the text of its id, which may be a number or text in the file."""
        found: dict[str, tuple[int, dict[str, Any]]] = {}
        whole = all(type(entry.get("id")) is int for entry in self.content["images"])
        for position, entry in enumerate(self.content["images"], start=1):
            raw = entry.get("id")
            if type(raw) is not int and not (isinstance(raw, str) and raw):
                name = entry.get("file_name")
                said = f"image '{name}' has id {raw!r}; an id is a whole number or text"
                report.fault(said, "image-id", str(name))
                continue
            if str(raw) in found:
                other = found[str(raw)][1].get("file_name")
                name = entry.get("file_name")
                said = f"image id {raw} stands twice, for '{other}' and '{name}'; ids must differ"
                report.fault(said, "image-id", str(name))
                continue
            if not whole:
                report.note(NUMBERED_IDS, f"'{raw}' is now {position}")
            found[str(raw)] = (int(raw) if whole else position, entry)
        return found

    def _by_image(self, known: dict[str, Any], report: Report) -> dict[str, list[dict[str, Any]]]:
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in self.content["annotations"]:
            image = str(entry.get("image_id"))
            if image not in known:
                name = entry.get("id", entry.get("file_name"))
                said = f"annotation {name} is for image {image}, which is not listed"
                report.fault(said, "annotation-orphan")
                continue
            groups[image].append(entry)
        return groups

    def _declared_hw(self, entry: dict[str, Any]) -> tuple[Any, Any] | None:
        size = entry.get("height"), entry.get("width")
        return None if None in size or 0 in size else size


class CocoDetection(CocoFile):
    """A COCO detection JSON with its image folder; see :class:`detr_hf.prepare.source.Source`."""

    is_panoptic = False

    @cached_property
    def key(self) -> str:
        """A hash of the annotation file and of the image folder's listing."""
        return hash_of_words([sha256_of(self.annotations), str(self.folder), hash_of_folder(self.folder)])

    def used_categories(self) -> set[int]:
        """The category ids that occur on annotations."""
        self._refuse_panoptic()
        return _whole_numbers(entry.get("category_id") for entry in self.content["annotations"])

    def _refuse_panoptic(self) -> None:
        if any("segments_info" in entry for entry in self.content["annotations"][:1]):
            raise UserError(
                f"{self.name}.annotations: {self.annotations} is a panoptic file; "
                f"give the folder of its PNG files as {self.name}.panoptic"
            )

    def images(self, report: Report) -> Iterator[SourceImage]:
        """All pictures in the order of the file, those without an object too."""
        numbered = self._numbered_images(report)
        groups = self._by_image(numbered, report)
        for raw, (number, entry) in numbered.items():
            try:
                path = inside(self.folder, entry.get("file_name"))
            except UserError as fault:
                report.fault(f"image {raw}: {fault}", "file-name", str(entry.get("file_name")))
                continue
            objects = [_detection_object(found, at) for at, found in enumerate(groups.get(raw, ()), start=1)]
            yield SourceImage(path, number, entry["file_name"], self._declared_hw(entry), objects)


def _whole_numbers(values: Iterable[Any]) -> set[int]:
    return {value for value in values if type(value) is int}


def _detection_object(entry: dict[str, Any], position: int) -> SourceObject:
    known = entry.get("id")
    number = known if type(known) is int else position
    crowd = bool(entry.get("iscrowd", 0))
    where = f"annotation {known if known is not None else f'number {position}'}"
    return SourceObject(
        number,
        entry.get("category_id"),
        entry.get("bbox"),
        entry.get("area"),
        crowd,
        where,
        entry.get("segmentation"),
    )


class CocoPanoptic(CocoFile):
    """A COCO panoptic JSON with its PNG folder and image folder; see :class:`detr_hf.prepare.source.Source`.

    Args:
        panoptic: the folder that ``file_name`` of an annotation is relative to.
    """

    is_panoptic = True

    def __init__(self, annotations: str, images: str, panoptic: str, name: str) -> None:
        super().__init__(annotations, images, name)
        self.png_folder = require_folder(panoptic, f"{name}.panoptic")

    @cached_property
    def key(self) -> str:
        """A hash of the annotation file and of the listings of both folders."""
        folders = [self.folder, self.png_folder]
        listings = [word for folder in folders for word in (str(folder), hash_of_folder(folder))]
        return hash_of_words([sha256_of(self.annotations), *listings])

    def used_categories(self) -> set[int]:
        """The category ids that occur on segments."""
        segments = (segment for entry in self.content["annotations"] for segment in self._segments(entry))
        return _whole_numbers(segment.get("category_id") for segment in segments)

    def _segments(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        segments = entry.get("segments_info")
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            raise UserError(
                f"{self.name}.annotations: {self.annotations}: annotation of image {entry.get('image_id')} "
                "has no list "
                "'segments_info'; this is not a panoptic file (for boxes only, leave out "
                f"{self.name}.panoptic)"
            )
        return segments

    def images(self, report: Report) -> Iterator[SourceImage]:
        """All pictures in the order of the file, each with its PNG."""
        numbered = self._numbered_images(report)
        groups = self._by_image(numbered, report)
        for raw, (number, entry) in numbered.items():
            name = f"image {raw} '{entry.get('file_name')}'"
            found = groups.get(raw, [])
            if len(found) != 1:
                said = f"{name} has {len(found)} panoptic annotations; each image needs one, with its PNG"
                report.fault(said, "png-annotation", str(entry.get("file_name")))
                continue
            try:
                path = inside(self.folder, entry.get("file_name"))
                png = inside(self.png_folder, found[0].get("file_name"))
            except UserError as fault:
                report.fault(f"{name}: {fault}", "file-name", str(entry.get("file_name")))
                continue
            objects = [_segment_object(segment) for segment in self._segments(found[0])]
            yield SourceImage(path, number, entry["file_name"], self._declared_hw(entry), objects, png)


def _segment_object(segment: dict[str, Any]) -> SourceObject:
    crowd = bool(segment.get("iscrowd", 0))
    where = f"segment {segment.get('id')}"
    box, area = segment.get("bbox"), segment.get("area")
    return SourceObject(segment.get("id"), segment.get("category_id"), box, area, crowd, where)
