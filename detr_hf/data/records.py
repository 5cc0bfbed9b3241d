"""`Record`: a repaired sample as a line of JSON, so that the steps of `prepare` can stream them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.rows import with_classes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.labels import LabelMap

_KEYS = ("file_name", "size_hw", "sha256", "dhash", "split")
_OBJECT_KEYS = ("id", "category", "where", "bbox", "area")


@dataclass(frozen=True)
class Record(Sample):
    """A repaired sample whose image and id map are files, with what tells its image from others.

    Paths are relative to the source's folder where they lie in it, else absolute. ``image_id`` counts from 1
    in the order of the source. Of a source with several splits, ``file_name`` begins with the split's name.
    """

    image: Path
    id_map: Path | None = None
    size_hw: tuple[int, int] = (0, 0)
    sha256: str = ""  # of the image's file, hex
    dhash: str = ""  # 64-bit difference hash of the upright gray image, 16 hex digits
    split: str = ""  # "train", "validation" or another name, where the source has several

    @property
    def folder(self) -> str:
        """The first folder of its name: the class folder, or the split; empty where there is none."""
        return folder_of(self.file_name)

    @property
    def categories(self) -> list[str]:
        """Class names of its objects, in order, with repeats."""
        return [found.category for found in self.objects if found.category is not None]


def folder_of(file_name: str) -> str:
    """The first folder of a name; empty where there is none."""
    return file_name.partition("/")[0] if "/" in file_name else ""


def record_values(record: Record) -> dict[str, Any]:
    """The record as plain JSON; of objects, what later steps need."""
    return {key: getattr(record, key) for key in _KEYS} | {
        "image": record.image.as_posix(),
        "id_map": None if record.id_map is None else record.id_map.as_posix(),
        "objects": [object_values(found) for found in record.objects],
    }


def object_values(found: Annotation) -> dict[str, Any]:
    """An object as plain JSON, of which ``Annotation(**values)`` is the object again."""
    values = {key: getattr(found, key) for key in _OBJECT_KEYS}
    rest = {"segmentation": found.segmentation, "iscrowd": found.iscrowd or None, "score": found.score}
    rest["extra"] = {"pseudo": True} if found.extra.get("pseudo") else None
    return values | {key: value for key, value in rest.items() if value is not None}


def record_from_values(values: dict[str, Any]) -> Record:
    """The record of ``record_values``."""
    return Record(
        **values
        | {
            "image_id": 0,
            "image": Path(values["image"]),
            "id_map": None if values["id_map"] is None else Path(values["id_map"]),
            "objects": [Annotation(**found) for found in values["objects"]],
            "size_hw": tuple(values["size_hw"]),
        }
    )


def to_line(values: Any) -> str:
    """One line of JSON without its end; equal values give equal lines."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Outcomes:
    """What the step `repair` left: a line an image, with its record or without, and what was found.

    Iterating gives the records, numbered from 1, without objects of void classes. Each pass reads the file
    anew, one line at a time.
    """

    file: Path  # of JSON lines
    labels: LabelMap  # the label map of the data set

    def __iter__(self) -> Iterator[Record]:
        return (record for _, record, _ in self.all() if record is not None)

    def all(self) -> Iterator[tuple[str, Record | None, list[Issue]]]:
        """Of every image its ``file_name``, its record if it was not dropped, and all that was found."""
        number = 0
        with self.file.open(encoding="utf-8") as lines:
            for line in lines:
                values = json.loads(line)
                record, issues = None, issues_from_lists(values["issues"])
                if values["record"] is not None:
                    number += 1
                    record = replace(record_from_values(values["record"]), image_id=number)
                    record, left_out = with_classes(record, self.labels)
                    issues += left_out
                yield values["file"], record, issues


def issues_to_lists(issues: Iterable[Issue]) -> list[list[str]]:
    """Issues as plain JSON: code, file, text."""
    return [[issue.code, issue.file, issue.text] for issue in issues]


def issues_from_lists(entries: Iterable[list[str]]) -> list[Issue]:
    """What ``issues_to_lists`` made."""
    return [Issue(code, text, file) for code, file, text in entries]


def issues_in(path: Path) -> Iterator[Issue]:
    """The issues of a file whose JSON lines hold them under "issues", one line at a time."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield from issues_from_lists(json.loads(line).get("issues", ()))


def cut_to_whole_lines(path: Path) -> int:
    """Cut what a kill left half written off a JSON-lines file; returns the number of lines that stay."""
    path.touch()
    count = end = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            count, end = count + 1, end + len(line)
    os.truncate(path, end)
    return count
