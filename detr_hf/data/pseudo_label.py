"""The step `pseudo`: a teacher paints the stuff of every image, which nobody annotated by hand.

Each image becomes two files, ``<id>.png`` (an RGB id map of stuff alone, 0 is void, upright and of the
image's own size) and ``<id>.json`` (its segments with the teacher's confidence). The JSON comes last and
names what it was made from, so a step that was killed goes on where it stopped, and an image, teacher or
setting that changed is done anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.records import Record
from detr_hf.data.sources.base import hash_of_words
from detr_hf.data.stuff_mapping import StuffMapping
from detr_hf.data.workers import progress
from detr_hf.errors import UserError
from detr_hf.files import write_bytes, write_json
from detr_hf.foreign_files import readable_json
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_id_map, decode_image

STEP_VERSION = "1"
"""Raise it whenever the same image, teacher and settings would give another map."""


@dataclass(frozen=True)
class FoundStuff:
    """What a teacher sees of stuff in one image.

    Attributes:
        id_map: ``int32 [h, w]`` at the teacher's own resolution, without padding; 0 is void.
        segments: (id, the teacher's class name, score from 0 to 1).
    """

    id_map: NDArray[np.int32]
    segments: list[tuple[int, str, float]]


class Teacher(Protocol):
    """Any model that segments stuff; `detr_hf.teacher.DetrTeacher` is one."""

    @property
    def name(self) -> str:
        """For messages and the data set's card."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the teacher might give other maps."""
        ...

    @property
    def stuff_names(self) -> tuple[str, ...]:
        """Every stuff class that it can find."""
        ...

    def find(self, image: NDArray[np.uint8], score_threshold: float, mask_threshold: float) -> FoundStuff:
        """The stuff of one upright RGB image ``uint8 [H, W, 3]``."""
        ...


@dataclass(frozen=True)
class StuffSettings:
    """Both from 0 to 1.

    Queries must be surer of their class than ``score_threshold``; a pixel whose best mask probability is
    below ``mask_threshold`` is uncovered and stays void (0 covers every pixel).
    """

    score_threshold: float = 0.85
    mask_threshold: float = 0.5


@dataclass
class StuffSummary:
    """Of all images that were pseudo-labeled: counts by class, and what stayed void.

    ``mean_score`` is over segments; ``void_share`` is the share of all pixels that no stuff covers, among
    them those of things; ``empty`` lists the images in which no stuff was found.
    """

    images: int = 0
    segments: dict[str, int] = field(default_factory=dict)
    mean_score: dict[str, float] = field(default_factory=dict)
    void_share: float = 0.0
    empty: list[str] = field(default_factory=list)


def pseudo_label(
    records: Iterable[Record],
    root: Path,
    teacher: Teacher,
    mapping: StuffMapping,
    out: Path,
    settings: StuffSettings | None = None,
) -> None:
    """Pseudo-label every image that did not come with an id map of its own.

    Under `accelerate launch` each process takes every n-th image with a teacher of its own, and writes its
    own files; all return when all are done.

    Args:
        records: are gone through twice.
        root: the source's folder, which images of records are relative to; only read.
        teacher: finds stuff under its own names.
        mapping: from those names to the data set's.
        out: folder of the results, made when missing.
        settings: thresholds.

    Raises:
        UserError: a stuff class of the teacher is not mapped (before the first image is opened), or a
            image cannot be read or is not the one of the record.
    """
    from accelerate import PartialState  # not above: it brings torch along, which no other step needs

    settings = settings or StuffSettings()
    mapping.require(teacher.stuff_names, teacher.name)
    made_with = fingerprint(teacher, mapping, settings)
    out.mkdir(parents=True, exist_ok=True)
    state = PartialState()
    total = sum(1 for _ in _unlabeled(records))
    mine = range(state.process_index, total, state.num_processes)
    here = islice(_unlabeled(records), state.process_index, None, state.num_processes)
    for record in progress(here, len(mine), "pseudo-label stuff", is_shown=state.process_index == 0):
        if not _is_done(record, out, made_with):
            _label_one(record, root, teacher, mapping, out, settings, made_with)
    state.wait_for_everyone()


def fingerprint(teacher: Teacher, mapping: StuffMapping, settings: StuffSettings) -> str:
    """Of all that decides a map, but for the image itself."""
    thresholds = f"{settings.score_threshold!r} {settings.mask_threshold!r}"
    return hash_of_words([STEP_VERSION, teacher.fingerprint, mapping.fingerprint, thresholds])


def summarize_stuff(records: Iterable[Record], out: Path) -> StuffSummary:
    """Count what `pseudo_label` wrote for these records; one small file is read at a time.

    Raises:
        UserError: an image has no result; the step has not been run to its end.
    """
    found: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    summary, pixels, covered = StuffSummary(), 0, 0
    for record in _unlabeled(records):
        content = readable_json(out / f"{record.image_id}.json")
        if not content:
            raise UserError(f"{record.file_name}: has no pseudo-labels in {out}; run the step `pseudo` first")
        summary.images += 1
        pixels += record.size_hw[0] * record.size_hw[1]
        for segment in content["segments"]:
            found[segment["category"]] += 1
            scores[segment["category"]] += segment["score"]
            covered += segment["area"]
        if not content["segments"]:
            summary.empty.append(record.file_name)
    summary.segments = dict(sorted(found.items()))
    summary.mean_score = {name: round(scores[name] / found[name], 4) for name in sorted(found)}
    summary.void_share = round(1 - covered / pixels, 4) if pixels else 0.0
    return summary


def _unlabeled(records: Iterable[Record]) -> Iterator[Record]:
    """Those that need a teacher: an image with an id map brings its stuff along."""
    return (record for record in records if record.id_map is None)


def _is_done(record: Record, out: Path, made_with: str) -> bool:
    content = readable_json(out / f"{record.image_id}.json")
    made_from = content.get("sha256"), content.get("made_with")
    return made_from == (record.sha256, made_with) and (out / f"{record.image_id}.png").is_file()


def _label_one(
    record: Record,
    root: Path,
    teacher: Teacher,
    mapping: StuffMapping,
    out: Path,
    settings: StuffSettings,
    made_with: str,
) -> None:
    image = decode_image(root / record.image, record.file_name)
    if image.shape[:2] != record.size_hw:
        raise UserError(
            f"{record.file_name}: is {image.shape[1]} x {image.shape[0]} pixels now and was "
            f"{record.size_hw[1]} x {record.size_hw[0]} when it was read; prepare the folder anew"
        )
    found = teacher.find(image, settings.score_threshold, settings.mask_threshold)
    id_map, segments = paint_mapped(found, mapping, record.size_hw)
    png = BytesIO()
    Image.fromarray(id_to_rgb(id_map)).save(png, "PNG")
    content = {
        "file_name": record.file_name,
        "sha256": record.sha256,
        "made_with": made_with,
        "segments": segments,
    }
    (out / f"{record.image_id}.json").unlink(missing_ok=True)  # an older one must not vouch for the new map
    write_bytes(out / f"{record.image_id}.png", png.getvalue())
    write_json(out / f"{record.image_id}.json", content, indent=None)


def paint_mapped(
    found: FoundStuff, mapping: StuffMapping, size_hw: tuple[int, int]
) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """The teacher's map under the data set's names and at the image's size, by the nearest pixel.

    Segments that come to the same class become one, with the best of their scores.

    Returns:
        An id map ``int32 [H, W]`` with ids 1 to k, and the k segments: ``id``, ``category``, ``score`` (0 to
        1, four digits), ``area`` (pixels).
    """
    scores: dict[str, float] = {}
    for _, name, score in found.segments:
        target = mapping.to_class[name]
        if target is not None:
            scores[target] = max(score, scores.get(target, 0.0))
    numbers = {name: number for number, name in enumerate(scores, start=1)}
    lookup = np.zeros(max((number for number, _, _ in found.segments), default=0) + 1, np.int32)
    for number, name, _ in found.segments:
        lookup[number] = numbers.get(mapping.to_class[name] or "", 0)
    large = np.array(Image.fromarray(lookup[found.id_map]).resize(size_hw[::-1], Image.Resampling.NEAREST))
    areas = np.bincount(large.ravel(), minlength=len(numbers) + 1)
    seen = [name for name, number in numbers.items() if areas[number]]
    compact = np.zeros(len(numbers) + 1, np.int32)
    for number, name in enumerate(seen, start=1):
        compact[numbers[name]] = number
    segments = [
        {
            "id": number,
            "category": name,
            "score": round(float(scores[name]), 4),
            "area": int(areas[numbers[name]]),
        }
        for number, name in enumerate(seen, start=1)
    ]
    return compact[large], segments


def read_pseudo_stuff(record: Record, out: Path) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """The id map ``int32 [H, W]`` and the segments that the step wrote for a record.

    Raises:
        UserError: there is no result for it, or its map is not of the image's size.
    """
    content, path = readable_json(out / f"{record.image_id}.json"), out / f"{record.image_id}.png"
    if content.get("sha256") != record.sha256:
        raise UserError(f"{record.file_name}: has no pseudo-labels in {out}; run the step `pseudo` first")
    id_map = decode_id_map(path)
    if id_map.shape != record.size_hw:
        raise UserError(f"{path}: is not of the size of {record.file_name}; delete it and run `pseudo` again")
    return id_map, content["segments"]
