"""COCO panoptic: a JSON that lists the segments of each image, and a PNG of segment ids for each.

Format: https://cocodataset.org/#format-data (panoptic segmentation). `coco_layout` says which folders are
known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.coco_file import CocoSource
from detr_hf.data.sources.coco_layout import PNG_FOLDERS, Folder, annotation_files, kind_of
from detr_hf.data.sources.coco_values import Entry, Values, short
from detr_hf.errors import UserError

FORMAT = "coco-panoptic"
TITLE = "COCO panoptic"
LOOKS_FOR = "a JSON with `segments_info`, or a folder with it, and the folder of its PNG files"
ORDER = 41  # after "coco": a folder that holds both is read as boxes

_SEGMENT_KEYS = frozenset({"id", "category_id", "bbox", "area", "iscrowd"})
_PNG_CODES = {"image-missing": "png-missing", "image-ambiguous": "png-missing", "image-link": "png-missing"}


def detect(path: Path) -> bool:
    """Whether it is such a JSON, or a folder or zip with one where COCO data sets have it."""
    try:
        files = annotation_files(path, "panoptic")
    except (UserError, OSError):
        return False
    return bool(files) and kind_of(files[0].files, files[0].name) == "panoptic"


def open_splits(place: Place) -> Opened:
    """A split for each annotation file, by its name; "train" where there is one file without a split's name.

    Raises:
        UserError: there is no such file. That it cannot be read is said on first use.
    """
    files = annotation_files(place.path, "panoptic")
    if not files:
        raise UserError(
            f"{place.name}: there is no COCO panoptic file in {place.path}; looked for {LOOKS_FOR}"
        )
    return Opened({file.split or "train": CocoPanoptic(place, file) for file in files})


class CocoPanoptic(CocoSource):
    """A COCO panoptic JSON with its PNG folder and its images."""

    is_panoptic = True

    @property
    def shapes(self) -> tuple[str, ...]:
        return (*super().shapes, *(PNG_FOLDERS if self.place.panoptic is None else ()))

    def used_categories(self) -> Iterable[Any]:
        return (
            segment.get("category_id")
            for entry in self.content["annotations"]
            for segment in _segments(entry)
            if isinstance(segment, dict)
        )

    @cached_property
    def png_folder(self) -> Folder:
        return self.folder_of(self.place.panoptic, PNG_FOLDERS, self.content["annotations"], "panoptic")

    def require_kind(self, annotations: list[Entry]) -> None:
        if annotations and not any("segments_info" in entry for entry in annotations):
            raise UserError(
                f"{self.where}: no annotation has 'segments_info', so it is not a panoptic file; for boxes "
                "only, leave out `panoptic`, or name its format as coco"
            )

    def with_objects(self, sample: Sample, found: list[tuple[int, Entry]], issues: list[Issue]) -> Sample:
        file = sample.file_name
        if sample.image is None:
            return replace(sample, issues=tuple(issues))
        if len(found) != 1 or not isinstance(found[0][1].get("segments_info"), list):
            said = "'segments_info' is no list" if len(found) == 1 else f"it has {len(found)}, and needs one"
            issues.append(Issue("png-annotation", said, file))
            return replace(sample, issues=tuple(issues))
        entry = found[0][1]
        objects = list(_objects(entry, self.class_names, file, issues))
        id_map = self._id_map(entry, file, issues)
        return replace(sample, objects=objects, id_map=id_map, issues=tuple(issues))

    def _id_map(self, entry: Entry, file: str, issues: list[Issue]) -> Path | bytes | None:
        name, issue = self.png_folder.images.find(entry.get("file_name"))
        if issue is not None:
            issues.append(Issue(_PNG_CODES.get(issue.code, issue.code), f"its PNG: {issue.text}", file))
        if name is None:
            return None
        try:
            return self.png_folder.content(name)
        except UserError as error:
            issues.append(Issue("png-unreadable", str(error), file))
            return None


def _segments(entry: Entry) -> list[Any]:
    segments = entry.get("segments_info")
    return segments if isinstance(segments, list) else []


def _objects(entry: Entry, names: dict[str, str], file: str, issues: list[Issue]) -> Iterator[Annotation]:
    for position, segment in enumerate(_segments(entry), start=1):
        if not isinstance(segment, dict):
            issues.append(
                Issue("entry-invalid", f"segment number {position}: {short(segment)} is no object", file)
            )
            continue
        values = Values(segment, f"segment {str(segment.get('id'))[:60]}", file)
        number = values.id()
        yield Annotation(
            id=segment.get("id") if number is None else number,
            category=values.category(names),
            bbox=values.box(),
            area=values.number("area"),
            iscrowd=values.flag("iscrowd"),
            where=values.where,
            category_id=segment.get("category_id"),
            extra=values.extra(_SEGMENT_KEYS),
        )
        issues += values.issues
