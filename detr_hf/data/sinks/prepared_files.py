"""COCO files written and read one image at a time, so that no set is too large.

One entry a line makes that possible, and the files easy to compare. Text is plain ASCII: pycocotools opens
files in the platform's own encoding.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from detr_hf.data.paint import Segment
from detr_hf.data.painted_files import png_name
from detr_hf.data.records import Record
from detr_hf.errors import UserError
from detr_hf.files import link_or_copy
from detr_hf.labels import LabelMap

PANOPTIC_FILE, DETECTION_FILE, PNG_FOLDER = "panoptic.json", "detection.json", "panoptic"
PARTS = ("images", "segments", "boxes")


@dataclass
class SplitSummary:
    """What a split holds: images in all and by class, segments by class, and what a machine drew.

    ``pseudo`` counts machine-made segments by class, ``scored`` those among them with a score, ``score_sum``
    adds these scores up.
    """

    images: int = 0
    images_of: Counter[str] = field(default_factory=Counter)
    segments_of: Counter[str] = field(default_factory=Counter)
    pseudo: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    score_sum: Counter[str] = field(default_factory=Counter)

    def count(self, segments: Sequence[Segment]) -> None:
        self.images += 1
        self.images_of.update({found.category for found in segments})
        for found in segments:
            self.segments_of[found.category] += 1
            self.pseudo[found.category] += found.pseudo
            if found.score is not None:
                self.scored[found.category] += 1
                self.score_sum[found.category] += found.score  # type: ignore[assignment]


class SplitWriter:
    """One split under way: ``panoptic.json`` with its PNG folder, and ``detection.json``.

    Category ids are those of the label map's source. Segments that a machine drew carry ``"pseudo": true``
    and, where it is known, its ``score``, in both files. Boxes are those of the visible masks, of stuff too.
    """

    def __init__(self, folder: Path, labels: LabelMap, description: str) -> None:
        self.summary = SplitSummary()
        self._folder = folder
        self._labels = labels
        self._description = description
        self._counts: Counter[str] = Counter()
        (folder / PNG_FOLDER).mkdir(parents=True)
        self._parts: dict[str, TextIO] = {
            part: (folder / f"{part}.part").open("w+", encoding="ascii", newline="\n") for part in PARTS
        }

    def add(self, record: Record, segments: Sequence[Segment], png: Path, file_name: str) -> None:
        """Write one image; its PNG is linked where the file system can, else copied.

        Raises:
            UserError: a segment is of a class that the label map does not have.
        """
        image = {
            "id": record.id,
            "file_name": file_name,
            "width": record.size_hw[1],
            "height": record.size_hw[0],
        }
        self._put("images", image)
        entries = [self._entry(found, record) for found in segments]
        name = png_name(record)
        info = [{"id": found.id} | entry for found, entry in zip(segments, entries, strict=True)]
        self._put("segments", {"image_id": record.id, "file_name": name, "segments_info": info})
        for entry in entries:
            self._put("boxes", {"id": self._counts["boxes"] + 1, "image_id": record.id} | entry)
        link_or_copy(png, self._folder / PNG_FOLDER / name)
        self.summary.count(segments)

    def finish(self) -> None:
        """Put the two files together."""
        for file, part in ((PANOPTIC_FILE, "segments"), (DETECTION_FILE, "boxes")):
            with (self._folder / file).open("w", encoding="ascii", newline="\n") as out:
                out.write(f'{{\n"info": {json.dumps({"description": self._description})},\n"licenses": [],\n')
                categories = ",\n".join(map(json.dumps, self._labels.to_coco_categories()))
                out.write(f'"categories": [\n{categories}\n],\n"images": [')
                self._append("images", out)
                out.write('\n],\n"annotations": [')
                self._append(part, out)
                out.write("\n]\n}\n")
                out.flush()
                os.fsync(out.fileno())
        for part, stream in self._parts.items():
            stream.close()
            (self._folder / f"{part}.part").unlink()

    def _append(self, part: str, out: TextIO) -> None:
        self._parts[part].seek(0)
        shutil.copyfileobj(self._parts[part], out)

    def _put(self, part: str, entry: dict[str, Any]) -> None:
        self._parts[part].write(f"{',' if self._counts[part] else ''}\n{json.dumps(entry)}")
        self._counts[part] += 1

    def _entry(self, found: Segment, record: Record) -> dict[str, Any]:
        class_id = self._labels.label2id.get(found.category)
        if class_id is None:
            raise UserError(
                f"{record.file_name}: class '{found.category}' is not in the label map; add it there, or "
                "leave `labels` out to take the classes of the data"
            )
        entry = {
            "category_id": self._labels.categories[class_id].source_id,
            "bbox": list(found.bbox),
            "area": found.area,
            "iscrowd": int(found.iscrowd),
        }
        made = {"pseudo": True, "score": found.score} if found.pseudo else {}
        return entry | {key: value for key, value in made.items() if value is not None}


def entries_of(file: Path, name: str) -> Iterator[dict[str, Any]]:
    """The entries of a list in a file that `SplitWriter` wrote, one at a time.

    Raises:
        UserError: the file ends too early, or a line is damaged.
    """
    with file.open(encoding="ascii") as lines:
        for line in lines:
            if line == f'"{name}": [\n':
                break
        for line in lines:
            if line.rstrip() in ("]", "],"):
                return
            try:
                yield json.loads(line.rstrip().removesuffix(","))
            except ValueError as error:
                raise UserError(
                    f"{file}: is damaged in the list '{name}' ({error}); write it again"
                ) from None
    raise UserError(f"{file}: the list '{name}' does not end; write it again")
