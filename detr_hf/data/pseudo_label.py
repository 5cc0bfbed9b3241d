"""The step `pseudo`: a teacher paints the stuff of every image, which nobody annotated by hand.

Each image becomes two files, ``<id>.png`` (an RGB id map of stuff alone, 0 is void, upright and of the
image's own size) and ``<id>.json`` (its segments with the teacher's confidence). The JSON comes last and
names what it was made from, so a step that was killed continues where it stopped, and an image, teacher or
setting that changed is done anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detr_hf.data.records import Record
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sources.base import hash_of_words
from detr_hf.data.stuff_mapping import StuffMapping
from detr_hf.errors import UserError, quantity
from detr_hf.files import write_bytes, write_json
from detr_hf.foreign_files import readable_json
from detr_hf.images import decode_id_map, decode_image
from detr_hf.progress import progress
from detr_hf.recipe.prepare import PseudoStuff

STEP_VERSION = "1"
"""Raise it whenever the same image, teacher and settings would give another map."""


@dataclass(frozen=True)
class FoundStuff:
    """What a teacher sees of stuff in one image."""

    id_map: NDArray[np.int32]  # ``int32 [h, w]`` at the teacher's own resolution, without padding; 0 is void
    segments: list[tuple[int, str, float]]  # (id, the teacher's class name, score from 0 to 1)


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


def pseudo_label(
    records: Iterable[Record],
    root: Path,
    teacher: Teacher,
    mapping: StuffMapping,
    out: Path,
    settings: PseudoStuff | None = None,
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
        settings: their thresholds count.

    Raises:
        UserError: a stuff class of the teacher is not mapped (before the first image is opened), or an image
            cannot be read or is not the one of the record.
    """
    from accelerate import PartialState  # not above: it brings torch along, which no other step needs

    settings = settings or PseudoStuff()
    mapping.require(teacher.stuff_names, teacher.name)
    thresholds = settings.score_threshold, settings.mask_threshold
    words = [STEP_VERSION, teacher.fingerprint, mapping.fingerprint, f"{thresholds[0]!r} {thresholds[1]!r}"]
    made_with = hash_of_words(words)
    out.mkdir(parents=True, exist_ok=True)
    state = PartialState()
    total = sum(1 for _ in _unlabeled(records))
    mine = range(state.process_index, total, state.num_processes)
    here = islice(_unlabeled(records), state.process_index, None, state.num_processes)
    for record in progress(here, len(mine), "pseudo-label stuff", is_shown=state.process_index == 0):
        json_file, png_file = (out / f"{record.image_id}.{kind}" for kind in ("json", "png"))
        made_from = {"file_name": record.file_name, "sha256": record.sha256, "made_with": made_with}
        if png_file.is_file() and made_from.items() <= readable_json(json_file).items():
            continue
        found = teacher.find(_decoded(record, root), *thresholds)
        id_map, segments = paint_mapped(found, mapping, record.size_hw)
        json_file.unlink(missing_ok=True)  # an older one must not vouch for the new map
        write_bytes(png_file, png_bytes(id_map))
        write_json(json_file, made_from | {"segments": segments}, indent=None)
    state.wait_for_everyone()


def _unlabeled(records: Iterable[Record]) -> Iterator[Record]:
    """Those that need a teacher: an image with an id map brings its stuff along."""
    return (record for record in records if record.id_map is None)


def _decoded(record: Record, root: Path) -> NDArray[np.uint8]:
    image = decode_image(root / record.image, record.file_name)
    if image.shape[:2] != record.size_hw:
        raise UserError(
            f"{record.file_name}: is {image.shape[1]} x {image.shape[0]} pixels now and was "
            f"{record.size_hw[1]} x {record.size_hw[0]} when it was read; prepare the folder again"
        )
    return image


def stuff_found(records: Iterable[Record], out: Path) -> list[str]:
    """The classes that `pseudo_label` painted anywhere, by name.

    Raises:
        UserError: an image has no result; the step has not been run to its end.
    """
    found = {segment["category"] for record in _unlabeled(records) for segment in _segments_of(record, out)}
    return sorted(found)


def summarize_stuff(records: Iterable[Record], out: Path) -> list[str]:
    """What `pseudo_label` painted, in sentences: segments by class, and every image without stuff by name.

    Raises:
        UserError: an image has no result; the step has not been run to its end.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    images = pixels = covered = 0
    empty = []
    for record in _unlabeled(records):
        segments = _segments_of(record, out)
        images += 1
        pixels += record.size_hw[0] * record.size_hw[1]
        for segment in segments:
            scores[segment["category"]].append(segment["score"])
            covered += segment["area"]
        if not segments:
            empty.append(record.file_name)
    void = 1 - covered / pixels if pixels else 0.0
    sentences = [
        f"{quantity(images, 'image')} labeled by machine; {void:.1%} of the pixels are covered by no stuff"
    ]
    for name, found in sorted(scores.items()):
        sentences.append(
            f"{name}: {quantity(len(found), 'segment')}, mean score {sum(found) / len(found):.2f}"
        )
    if empty:
        sentences.append(f"no stuff was found in {len(empty)}: {', '.join(empty)}")
    return sentences


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
    names = list(scores)
    lookup = np.zeros(max((number for number, _, _ in found.segments), default=0) + 1, np.int32)
    for number, name, _ in found.segments:
        target = mapping.to_class[name]
        lookup[number] = 0 if target is None else names.index(target) + 1
    large = np.array(Image.fromarray(lookup[found.id_map]).resize(size_hw[::-1], Image.Resampling.NEAREST))
    areas = np.bincount(large.ravel(), minlength=len(names) + 1)
    seen = [number for number in range(1, len(names) + 1) if areas[number]]
    compact = np.zeros(len(names) + 1, np.int32)
    compact[seen] = range(1, len(seen) + 1)
    segments = []
    for number in seen:
        name = names[number - 1]
        values = {"category": name, "score": round(float(scores[name]), 4), "area": int(areas[number])}
        segments.append({"id": int(compact[number]), **values})
    return compact[large], segments


def read_pseudo_stuff(record: Record, out: Path) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """The id map ``int32 [H, W]`` and the segments that the step wrote for a record.

    Raises:
        UserError: there is no result for it, or its map is not of the image's size.
    """
    segments, path = _segments_of(record, out), out / f"{record.image_id}.png"
    id_map = decode_id_map(path)
    if id_map.shape != record.size_hw:
        raise UserError(f"{path}: is not of the size of {record.file_name}; delete it and run `pseudo` again")
    return id_map, segments


def _segments_of(record: Record, out: Path) -> list[dict[str, Any]]:
    content = readable_json(out / f"{record.image_id}.json")
    if content.get("sha256") != record.sha256:
        raise UserError(f"{record.file_name}: has no pseudo-labels in {out}; run the step `pseudo` first")
    return content["segments"]
