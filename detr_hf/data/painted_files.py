"""Every image painted into a PNG and a JSON of its own, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from detr_hf.data.issues import Issue
from detr_hf.data.paint import Stuff, paint
from detr_hf.data.pseudo_label import read_pseudo_stuff
from detr_hf.data.records import Record, issues_from_lists, issues_to_lists, object_values
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sample import Annotation
from detr_hf.data.sources.base import hash_of_words
from detr_hf.files import write_bytes, write_json
from detr_hf.foreign_files import readable_json

PAINTING_VERSION = "2"
"""Raise it whenever the same record and stuff would give another map."""


@dataclass(frozen=True)
class PaintJob:
    """Paints records, but for those painted before from the same record, stuff and setting; picklable.

    Args:
        root: holds id maps that came with images.
        stuff: holds those of ``pseudo_label``; None: no stuff but that of given id maps.
        folder: for the results.
        most_hidden: as ``paint``.
    """

    root: Path
    stuff: Path | None
    folder: Path
    most_hidden: float

    def __call__(self, record: Record) -> None:
        """The JSON comes last and vouches for the PNG."""
        sidecar, png, key = self._sidecar(record), self.png(record), self._key(record)
        if png.is_file() and readable_json(sidecar).get("made_from") == key:
            return
        stuff = None
        if record.id_map is not None:
            record = replace(record, id_map=self.root / record.id_map)
        elif self.stuff is not None:
            stuff = Stuff(*read_pseudo_stuff(record, self.stuff))
        painted = paint(record, stuff, self.most_hidden)
        sidecar.unlink(missing_ok=True)
        write_bytes(png, png_bytes(painted.id_map))
        objects, issues = map(object_values, painted.objects), issues_to_lists(painted.issues)
        content = {"made_from": key, "objects": list(objects), "issues": issues}
        write_json(sidecar, content, indent=None)

    def png(self, record: Record) -> Path:
        return self.folder / f"{record.image_id}.png"

    def result(self, record: Record) -> tuple[list[Annotation], list[Issue]]:
        """The objects that were painted, and what was left out."""
        content = json.loads(self._sidecar(record).read_bytes())
        return [Annotation(**one) for one in content["objects"]], issues_from_lists(content["issues"])

    def _sidecar(self, record: Record) -> Path:
        return self.png(record).with_suffix(".json")

    def _key(self, record: Record) -> str:
        files: list[Path] = []
        if record.id_map is not None:
            files = [self.root / record.id_map]
        elif self.stuff is not None:
            files = [self.stuff / f"{record.image_id}.{kind}" for kind in ("png", "json")]
        return hash_of_words([PAINTING_VERSION, repr(record), repr(self.most_hidden), *map(_stamp, files)])


def _stamp(file: Path) -> str:
    """Changes when the file does, without reading it; "missing" is left to the reader to complain about."""
    try:
        status = os.stat(file)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"
