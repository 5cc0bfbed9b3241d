"""`Record`: a repaired sample as a line of JSON, so that the steps of `prepare` can stream them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError
from detr_hf.files import whole_file

_KEYS = ("image_id", "file_name", "size_hw", "sha256", "dhash", "split")
_OBJECT_KEYS = ("id", "category", "where", "bbox", "area")


@dataclass(frozen=True)
class Record(Sample):
    """A repaired sample whose image and id map are files, with what tells its image from others.

    Paths are relative to the source's folder where they lie in it, else absolute. ``image_id`` is 0 until
    merged, then 1..N in the order of the source. Of a source with several splits, ``file_name`` begins with
    the split's name.

    Attributes:
        sha256: of the image's file, hex.
        dhash: 64-bit difference hash of the upright gray image, 16 hex digits.
        split: "train", "validation" or another name, where the source has several.
    """

    image: Path
    id_map: Path | None = None
    size_hw: tuple[int, int] = (0, 0)
    sha256: str = ""
    dhash: str = ""
    split: str = ""

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
            "image": Path(values["image"]),
            "id_map": None if values["id_map"] is None else Path(values["id_map"]),
            "objects": [Annotation(**found) for found in values["objects"]],
            "size_hw": tuple(values["size_hw"]),
        }
    )


def to_line(values: Any) -> str:
    """One line of JSON without its end; equal values give equal lines."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def read_records(path: str | Path) -> Iterator[Record]:
    """Records of a JSON-lines file, one at a time, whatever the size of the file.

    Raises:
        UserError: there is no such file, or a line is no record.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield record_from_values(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise UserError(
                        f"{path}, line {number}: is no record of an image ({error}); delete the file and "
                        "run the step again"
                    ) from None
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file of records; run the step before first") from None


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines; the file appears under its name when it is whole. Returns the count."""
    count = 0
    with whole_file(path, sync=True) as part, part.open("w", encoding="utf-8", newline="\n") as lines:
        for record in records:
            lines.write(f"{to_line(record_values(record))}\n")
            count += 1
    return count


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
