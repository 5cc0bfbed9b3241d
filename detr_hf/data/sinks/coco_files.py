"""COCO files of any length, written entry by entry.

One entry a line makes them easy to compare. Text is plain ASCII: pycocotools opens files in the platform's
own encoding. Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from detr_hf.data.sample import Annotation, Sample

DIGITS = 6  # of a pixel; what is behind them is noise of the conversion


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

    def copy_to(self, out: TextIO) -> None:
        """Write ``[...]`` to another file."""
        out.write("[")
        self._stream.seek(0)
        shutil.copyfileobj(self._stream, out)
        out.write("\n]" if self.length else "]")

    def close(self) -> None:
        """The file of its own is removed."""
        self._stream.close()
        self._file.unlink(missing_ok=True)


class CocoSplit:
    """One split under way: its images, their boxes, and the segments of their id maps.

    Args:
        folder: of the split.
        category_ids: by class name, as they are written.
    """

    def __init__(self, folder: Path, category_ids: Mapping[str, int]) -> None:
        self.folder = folder
        self._ids = category_ids
        self._images, self._boxes, self._segments = (
            JsonList(folder / f"{name}.part") for name in ("images", "boxes", "segments")
        )

    def add_image(self, sample: Sample, file_name: str) -> None:
        """The image's entry. Further values of the source are written back."""
        assert sample.size_hw is not None
        height, width = sample.size_hw
        entry = {"id": sample.image_id, "file_name": file_name, "width": width, "height": height}
        self._images.add(_with_extra(entry, sample.extra))

    def add_boxes(self, image_id: int, objects: Iterable[Annotation], outlines: bool = True) -> None:
        """Entries of a detection file, numbered over all images; outlines with them unless they are none."""
        for found in objects:
            entry = {"id": self._boxes.length + 1, "image_id": image_id, **self._entry(found)}
            if outlines:
                shape = found.segmentation
                entry["segmentation"] = shape if isinstance(shape, dict) else _rounded(shape or [])
            self._boxes.add(_with_extra(entry, found.extra))

    def add_segments(self, image_id: int, objects: Iterable[Annotation]) -> str:
        """The entry of a panoptic file; returns the name of its PNG."""
        segments = [_with_extra({"id": one.id, **self._entry(one)}, one.extra) for one in objects]
        name = f"{image_id:012d}.png"
        self._segments.add({"image_id": image_id, "file_name": name, "segments_info": segments})
        return name

    def _entry(self, found: Annotation) -> dict[str, Any]:
        """What detection and panoptic entries have in common."""
        assert found.category is not None
        box, area = _rounded(found.bbox), _rounded(found.area)
        entry = {"category_id": self._ids[found.category], "bbox": box, "area": area}
        entry["iscrowd"] = int(found.iscrowd)
        return entry | ({"score": found.score} if found.score is not None else {})

    def write(self, categories: Iterable[Mapping[str, Any]], detection: str = "", panoptic: str = "") -> None:
        """The files of these names; what was gathered for them is removed."""
        listed = list(categories)
        for name, entries in ((detection, self._boxes), (panoptic, self._segments)):
            if name:
                write_coco(self.folder / name, listed, self._images, entries)
        self.close()

    def close(self) -> None:
        for one in (self._images, self._boxes, self._segments):
            one.close()


def write_coco(
    file: Path, categories: Iterable[Mapping[str, Any]], images: JsonList, annotations: JsonList
) -> None:
    """A whole COCO file of the lists that were gathered."""
    listed = ",".join(f"\n{json_text(category)}" for category in categories)
    with file.open("w", encoding="ascii", newline="\n") as out:
        out.write('{\n"info": {"description": "written by detr-hf"},\n"licenses": [],\n')
        out.write(f'"categories": [{listed}\n],\n"images": ')
        images.copy_to(out)
        out.write(',\n"annotations": ')
        annotations.copy_to(out)
        out.write("\n}\n")


def write_changes(file: Path, counts: Mapping[str, int], changes: JsonList) -> None:
    """What is different from the source: counts by kind, and every change."""
    with file.open("w", encoding="ascii", newline="\n") as out:
        out.write(f'{{\n"counts": {json_text(counts)},\n"changes": ')
        changes.copy_to(out)
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


def _with_extra(entry: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, then what the source had besides."""
    return entry | {key: value for key, value in extra.items() if key not in entry}


def _rounded(value: Any) -> Any:
    """Numbers, alone or in lists, without the noise of a conversion."""
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
