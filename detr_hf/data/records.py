"""`Record`: one mended picture with its objects; on disk a line of JSON, so that steps can stream them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.files import whole_file


@dataclass(frozen=True)
class RawObject:
    """One mended object, in pixels of the upright picture.

    Exactly one of ``polygons``, ``rle`` and ``bbox`` is given.

    Attributes:
        category: class name.
        source_id: id of the annotation in the export of its class folder, for messages.
        polygons: outlines x0, y0, x1, y1, ..., of three points or more, inside the frame.
        rle: COCO's compressed run lengths, ``{"size": [height, width], "counts": text}``.
        bbox: x, y, width, height of an object that was marked by a rectangle alone, inside the frame.
        iscrowd: whether the object stands for a group that is not told apart.
    """

    category: str
    source_id: int
    polygons: list[list[float]] | None = None
    rle: dict[str, Any] | None = None
    bbox: list[float] | None = None
    iscrowd: bool = False


@dataclass(frozen=True)
class RawSegment:
    """One segment of a panoptic PNG: ``id`` is its color R + 256 G + 65536 B, ``category`` a class name."""

    id: int
    category: str
    isthing: bool
    iscrowd: bool = False


@dataclass(frozen=True)
class RawPanoptic:
    """A picture that came with an id map: the PNG's path relative to RAW, "/"-separated, and its segments."""

    png: str
    segments: list[RawSegment]


@dataclass(frozen=True)
class Record:
    """One picture, mended.

    Attributes:
        id: 0 until merged, then 1..N in the order of ``identity``.
        identity: "<class folder>/<file>", unique.
        file: path of the picture relative to RAW, "/"-separated.
        class_folder: the folder it stands in, which names the one class that was annotated there.
        width, height: pixels of the upright picture (EXIF rotation applied).
        sha256: of the file, hex.
        dhash: 64-bit difference hash of the upright gray picture, 16 hex digits.
        objects: mended objects; empty where ``panoptic`` is given.
        panoptic: the id map, where the picture came already labeled.
    """

    id: int
    identity: str
    file: str
    class_folder: str
    width: int
    height: int
    sha256: str
    dhash: str
    objects: list[RawObject] = field(default_factory=list)
    panoptic: RawPanoptic | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def categories(self) -> list[str]:
        """Class names of its objects and segments, in order, with repeats."""
        segments = self.panoptic.segments if self.panoptic is not None else []
        return [found.category for found in self.objects] + [found.category for found in segments]


def record_to_line(record: Record) -> str:
    """The record as one line of JSON without its line end; equal records give equal lines."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":"))


def record_from_line(line: str) -> Record:
    """The record of a line that ``record_to_line`` wrote.

    Raises:
        ValueError, KeyError, TypeError: the line is something else.
    """
    return record_from_values(json.loads(line))


def record_from_values(values: dict[str, Any]) -> Record:
    """The record of its plain values, as ``dataclasses.asdict`` gives them; ``values`` is used up."""
    values["objects"] = [RawObject(**found) for found in values["objects"]]
    if values["panoptic"] is not None:
        segments = [RawSegment(**found) for found in values["panoptic"]["segments"]]
        values["panoptic"] = RawPanoptic(values["panoptic"]["png"], segments)
    return Record(**values)


def read_records(path: str | Path) -> Iterator[Record]:
    """Records of a JSON-lines file, one at a time, whatever the size of the file.

    Raises:
        UserError: there is no such file, or a line is no record.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield record_from_line(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(
                        f"{path}, line {number}: is no record of a picture ({error}); delete the file and "
                        "run the step again"
                    ) from None
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file of records; run the step before first") from None


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines; the file appears under its name when it is whole. Returns the count."""
    count = 0
    with whole_file(path, sync=True) as part, part.open("w", encoding="utf-8", newline="\n") as lines:
        for record in records:
            lines.write(f"{record_to_line(record)}\n")
            count += 1
    return count
