"""COCO panoptic: a JSON that lists the segments of each image, and a PNG of segment ids for each.

Format: https://cocodataset.org/#format-data (panoptic segmentation). `coco_layout` says which folders are
known.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.coco_file import CocoSource
from detr_hf.data.sources.coco_layout import PNG_FOLDERS, Folder, has_kind, required_files
from detr_hf.data.sources.coco_values import Entry, Values, annotation_of, short
from detr_hf.errors import UserError

FORMAT = "coco-panoptic"
TITLE = "COCO panoptic"
LOOKS_FOR = "a JSON with `segments_info`, or a folder with it, and the folder of its PNG files"
ORDER = 41  # after "coco": a folder that holds both is read as boxes

_PNG_CODES = {"image-missing": "png-missing", "image-ambiguous": "png-missing", "image-link": "png-missing"}


def detect(path: Path) -> bool:
    return has_kind(path, "panoptic")


def open_splits(place: Place) -> Opened:
    """A split for each annotation file, see ``required_files``."""
    files = required_files(place.path, place.name, "panoptic", LOOKS_FOR)
    return Opened({split: CocoPanoptic(place, file) for split, file in files.items()})


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

    @property
    def not_images(self) -> Collection[str]:
        """The PNGs, which have the names of images that are PNGs, too."""
        pngs, top = self.png_folder, os.path.realpath(self.file.files.path)
        folder = os.path.relpath(os.path.realpath(pngs.files.path / pngs.name), top)
        names = (pngs.images.find(entry.get("file_name"))[0] for entry in self.content["annotations"])
        return {posixpath.normpath(f"{folder}/{name}") for name in names if name is not None}

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
        yield annotation_of(values, names, segment.get("id") if number is None else number)
        issues += values.issues
