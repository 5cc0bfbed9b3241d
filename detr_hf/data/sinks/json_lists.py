"""JSON files of any length, written entry by entry.

One entry a line makes them easy to compare. Text is plain ASCII: pycocotools opens files in the platform's
own encoding.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO


class JsonList:
    """The entries of a list, in a file of their own until they are put where they belong."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream: TextIO = file.open("w+", encoding="ascii", newline="\n")
        self.length = 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """One more entry."""
        self._stream.write(f"{',' if self.length else ''}\n{json_text(entry)}")
        self.length += 1

    def move_to(self, out: TextIO) -> None:
        """Write ``[...]`` to another file; this one is removed."""
        out.write("[")
        self._stream.seek(0)
        shutil.copyfileobj(self._stream, out)
        out.write("\n]" if self.length else "]")
        self.close()
        self._file.unlink()

    def close(self) -> None:
        self._stream.close()


def write_coco(
    file: Path, categories: Iterable[Mapping[str, Any]], images: JsonList, annotations: JsonList
) -> None:
    """A COCO file of a detection or panoptic data set (https://cocodataset.org/#format-data)."""
    with file.open("w", encoding="ascii", newline="\n") as out:
        out.write('{\n"info": {"description": "written by detr-hf"},\n"licenses": [],\n"categories": [')
        out.write(",".join(f"\n{json_text(category)}" for category in categories))
        out.write('\n],\n"images": ')
        images.move_to(out)
        out.write(',\n"annotations": ')
        annotations.move_to(out)
        out.write("\n}\n")


def write_changes(file: Path, counts: Mapping[str, int], changes: JsonList) -> None:
    """What is different from the source: counts by kind, and every change."""
    with file.open("w", encoding="ascii", newline="\n") as out:
        out.write(f'{{\n"counts": {json_text(counts)},\n"changes": ')
        changes.move_to(out)
        out.write("\n}\n")


def json_text(value: Any) -> str:
    """A value, maybe of a foreign source, as one line of JSON that any reader takes."""
    return json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    """Without what JSON has no sign for: NaN is null, anything unknown is its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
