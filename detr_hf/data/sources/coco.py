"""COCO detection: boxes and outlines in one JSON, as COCO, CVAT, Roboflow, datumaro and many others write it.

Format: https://cocodataset.org/#format-data (object detection). `coco_layout` says which folders are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.coco_file import CocoSource
from detr_hf.data.sources.coco_layout import annotation_files, has_kind, required_files
from detr_hf.data.sources.coco_values import Entry, Values, annotation_of, id_key, short
from detr_hf.errors import UserError

FORMAT = "coco"
TITLE = "COCO (detection)"
LOOKS_FOR = "a JSON with `images` and `annotations`, alone, in a folder or in a zip"
ORDER = 40

PAINTED_SHARE = 0.05  # of objects that are run lengths and crowds; COCO itself has 0.012


def detect(path: Path) -> bool:
    return has_kind(path, "detection")


def open_splits(place: Place) -> Opened:
    """A split for each annotation file, see ``required_files``."""
    files = required_files(place.path, place.name, "detection", LOOKS_FOR)
    others = annotation_files(place.path, "panoptic") if any(one.split for one in files.values()) else []
    remarks = [Issue("two-layouts", "the boxes are read, not this panoptic file", one.name) for one in others]
    return Opened({split: CocoDetection(place, file, remarks) for split, file in files.items()})


class CocoDetection(CocoSource):
    """A COCO detection JSON with its images."""

    def used_categories(self) -> Iterable[Any]:
        return (entry.get("category_id") for entry in self.content["annotations"])

    def require_kind(self, annotations: list[Entry]) -> None:
        if any("segments_info" in entry for entry in annotations[:1]):
            raise UserError(
                f"{self.where} is a panoptic file; name the folder of its PNG files as `panoptic`, or its "
                "format as coco-panoptic"
            )

    @cached_property
    def _repeated(self) -> set[int]:
        """Positions of annotations whose id another one has already."""
        seen: set[str] = set()
        repeated = set()
        for position, entry in enumerate(self.content["annotations"]):
            key = id_key(entry.get("id"))
            if key is None:
                continue
            if key in seen:
                repeated.add(position)
            seen.add(key)
        return repeated

    @cached_property
    def _painted_are_objects(self) -> bool:
        """Whether run lengths that are crowds are single objects: CVAT exports what was painted so."""
        setting = self.place.reading.painted_masks
        if setting != "auto":
            return setting == "objects"
        found = self.content["annotations"]
        painted = sum(_may_be_painted(entry) and Values(entry, "", "").flag("iscrowd") for entry in found)
        return painted > PAINTED_SHARE * len(found)

    def with_objects(self, sample: Sample, found: list[tuple[int, Entry]], issues: list[Issue]) -> Sample:
        objects = [self._annotation(position, entry, sample.file_name, issues) for position, entry in found]
        return replace(sample, objects=objects, issues=tuple(issues))

    def _annotation(self, position: int, entry: Entry, file: str, issues: list[Issue]) -> Annotation:
        raw = entry.get("id")
        where = f"annotation {str(raw)[:60]}" if raw is not None else f"annotation number {position + 1}"
        values = Values(entry, where, file)
        number = values.id()
        if number is None or position in self._repeated:
            why = "it stands twice" if number is not None else "it is no whole number"
            why = "it has none" if raw is None else why
            issues.append(Issue("annotation-id", f"{where}: id {short(raw)}, {why}", file))
            number = None
        made = annotation_of(values, self.class_names, number)
        if made.iscrowd and _may_be_painted(entry) and self._painted_are_objects:
            issues.append(Issue("painted", where, file))
            made = replace(made, iscrowd=False)
        issues += values.issues
        return made


def _may_be_painted(entry: Entry) -> bool:
    return isinstance(entry.get("segmentation"), dict)
