"""Every image painted into a PNG and a JSON of its own, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from detr_hf.data.issues import Issue
from detr_hf.data.paint import Painted, Segment, Stuff, paint, paint_given
from detr_hf.data.processes import in_order
from detr_hf.data.pseudo_label import read_pseudo_stuff
from detr_hf.data.records import Record, issues_from_lists, issues_to_lists, read_records
from detr_hf.data.sources.base import hash_of_words
from detr_hf.files import write_bytes, write_json
from detr_hf.foreign_files import readable_json
from detr_hf.geometry import id_to_rgb

PAINTING_VERSION = "1"
"""Raise it whenever the same record and stuff would give another map."""


@dataclass(frozen=True)
class PaintJob:
    """Where painting reads and writes, and how; see ``paint_all``."""

    root: Path
    stuff: Path | None
    folder: Path
    most_hidden: float


@dataclass(frozen=True)
class PaintedFile:
    """What stands in the JSON of a image, beside its PNG."""

    segments: list[Segment]
    issues: list[Issue]


def png_name(record: Record) -> str:
    return f"{record.id:08d}.png"


def paint_all(records: Path, job: PaintJob, processes: int) -> Iterator[bool]:
    """Paint every image, but for those painted before from the same record, stuff and setting.

    Yields, image by image in order, whether there was something to do.

    Args:
        records: the JSON lines of the step ``merge``.
        job: ``root`` holds id maps that came with images, ``stuff`` those of ``pseudo_label`` (None: no
            stuff but theirs); results go to ``folder``.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    yield from in_order(partial(_paint_one, job), read_records(records), processes)


def painted_file(folder: Path, record: Record) -> PaintedFile:
    """What ``paint_all`` wrote for a record."""
    content = json.loads(_sidecar(folder, record).read_bytes())
    segments = [Segment(**found | {"bbox": tuple(found["bbox"])}) for found in content["segments"]]
    return PaintedFile(segments, issues_from_lists(content["issues"]))


def _sidecar(folder: Path, record: Record) -> Path:
    return folder / f"{record.id:08d}.json"


def _paint_one(job: PaintJob, record: Record) -> bool:
    """The JSON comes last and vouches for the PNG."""
    sidecar, png = _sidecar(job.folder, record), job.folder / png_name(record)
    made_from = _made_from(job, record)
    if png.is_file() and readable_json(sidecar).get("made_from") == made_from:
        return False
    painted = _painted(job, record)
    sidecar.unlink(missing_ok=True)
    stream = BytesIO()
    Image.fromarray(id_to_rgb(painted.id_map)).save(stream, "PNG")
    write_bytes(png, stream.getvalue())
    content = {
        "made_from": made_from,
        "segments": [vars(found) for found in painted.segments],
        "issues": issues_to_lists(painted.issues),
    }
    write_json(sidecar, content, indent=None)
    return True


def _painted(job: PaintJob, record: Record) -> Painted:
    if record.id_map is not None:
        return paint_given(record, job.root)
    stuff = Stuff(*read_pseudo_stuff(record, job.stuff)) if job.stuff is not None else None
    return paint(record, stuff, job.most_hidden)


def _made_from(job: PaintJob, record: Record) -> str:
    words = [PAINTING_VERSION, repr(record), repr(job.most_hidden)]
    if record.id_map is not None:
        words.append(_stamp(job.root / record.id_map))
    elif job.stuff is not None:
        words += [_stamp(job.stuff / f"{record.id}.{kind}") for kind in ("png", "json")]
    return hash_of_words(words)


def _stamp(file: Path) -> str:
    """Changes when the file does, without reading it; "missing" is left to the reader to complain about."""
    try:
        status = os.stat(file)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"
