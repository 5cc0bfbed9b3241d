"""What an evaluation counted in every image, kept in a file: a report is made from it without the model."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from detr_hf.files import UnwritableError, whole_file
from detr_hf.foreign_files import open_file
from detr_hf.metrics.entries import ImageBoxes, ImageEntry
from detr_hf.metrics.pq_counts import SEGMENT_FATES, ClassCounts
from detr_hf.run_folder import METRICS_FILE, PER_IMAGE_FILE, RunFolder

_BOX_COLUMNS = ("boxes", "scores", "labels")
_TRUTH_COLUMNS = ("truth_boxes", "truth_labels", "truth_areas", "truth_crowd")
_SEGMENT_COLUMNS = ("classes", "counts", "iou")
_NUMBERS = ("num_queries", "stride")


@dataclass(frozen=True)
class PerImageResults:
    """One validation split as a model saw it, sorted by image id.

    Attributes:
        boxes: entries with ``ImageBoxes``: every detection, and the truth.
        segments: entries with ``ClassCounts``, of the same images; None for stage 1.
        num_queries: of the model; None where it is not known, as in files of older versions.
        stride: pixels to a cell of the finest map that the model's encoder sees; None as before.
    """

    boxes: list[ImageEntry]
    segments: list[ImageEntry] | None = None
    num_queries: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        for entries in (self.boxes, self.segments or []):
            entries.sort(key=lambda entry: entry.image_id)


def save_per_image(run: RunFolder, results: PerImageResults) -> None:
    """Write what the evaluation behind ``best/`` counted; a failure is a warning, only a report misses it."""
    columns = {"of": np.array([evaluation_mark(run)]), **_box_arrays(results.boxes)}
    if results.segments is not None:
        columns |= _segment_arrays(results.segments)
    for name in _NUMBERS:
        if getattr(results, name) is not None:
            columns[name] = np.array([getattr(results, name)])
    try:
        with whole_file(run.path / PER_IMAGE_FILE) as partial:
            save_file({name: np.ascontiguousarray(column) for name, column in columns.items()}, partial)
    except UnwritableError as error:
        print(f"warning: {error}", flush=True)


def load_per_image(run: RunFolder, num_classes: int) -> PerImageResults | None:
    """Read it back; None where it is missing, damaged, or of another evaluation than that of ``best/``."""
    try:
        with open_file(run.path / PER_IMAGE_FILE) as file:
            columns = load(file.read())
        if columns["of"].tolist() != [evaluation_mark(run)]:
            return None
        if not _fits(columns, num_classes):
            return None
        numbers = {name: int(columns[name][0]) for name in _NUMBERS if name in columns}
        return PerImageResults(_box_entries(columns), _segment_entries(columns), **numbers)
    except (OSError, ValueError, KeyError, IndexError, TypeError, SafetensorError):
        return None


def evaluation_mark(run: RunFolder) -> int:
    """Tells of which evaluation a file beside ``best/`` is."""
    with open_file(run.best / METRICS_FILE) as file:
        return zlib.crc32(file.read())


def _box_arrays(entries: list[ImageEntry]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"image_ids": np.array([entry.image_id for entry in entries], np.int64)}
    contents: list[ImageBoxes] = [entry.content for entry in entries]
    arrays["counts"] = np.array([len(one.scores) for one in contents], np.int64)
    arrays["truth_counts"] = np.array([len(one.truth_labels) for one in contents], np.int64)
    for name in (*_BOX_COLUMNS, *_TRUTH_COLUMNS):
        arrays[name] = np.concatenate([getattr(one, name) for one in contents])
    queries = [one.queries for one in contents if one.queries is not None]
    if len(queries) == len(contents):
        arrays["queries"] = np.concatenate(queries)
    return arrays


def _box_entries(columns: dict[str, NDArray[Any]]) -> list[ImageEntry]:
    of_found = _pieces(columns, _BOX_COLUMNS, columns["counts"])
    of_truth = _pieces(columns, _TRUTH_COLUMNS, columns["truth_counts"])
    queries: list[tuple[Any, ...]] = [(None,)] * len(of_found)
    if "queries" in columns:
        queries = _pieces(columns, ("queries",), columns["counts"])
    rows = zip(columns["image_ids"].tolist(), of_found, of_truth, queries, strict=True)
    return [ImageEntry(image_id, 0, ImageBoxes(*found, *truth, *of)) for image_id, found, truth, of in rows]


def _pieces(
    columns: dict[str, NDArray[Any]], names: tuple[str, ...], counts: NDArray[np.int64]
) -> list[tuple[NDArray[Any], ...]]:
    """The columns of each image, cut from those of all images."""
    ends = np.cumsum(counts)
    if any(len(columns[name]) != (ends[-1] if len(ends) else 0) for name in names):
        raise ValueError("columns of different lengths")
    return list(zip(*(np.split(columns[name], ends[:-1]) for name in names), strict=True))


def _segment_arrays(entries: list[ImageEntry]) -> dict[str, NDArray[Any]]:
    contents: list[ClassCounts] = [entry.content for entry in entries]
    return {
        "segment_image_ids": np.array([entry.image_id for entry in entries], np.int64),
        "segment_lengths": np.array([len(one.classes) for one in contents], np.int64),
        **{f"segment_{n}": np.concatenate([getattr(one, n) for one in contents]) for n in _SEGMENT_COLUMNS},
        **_lost_arrays([one.lost for one in contents if one.lost is not None], len(contents)),
    }


def _lost_arrays(lost: list[NDArray[np.int64]], images: int) -> dict[str, NDArray[Any]]:
    if not lost or len(lost) < images:
        return {}
    return {"lost_lengths": np.array([len(one) for one in lost], np.int64), "lost": np.concatenate(lost)}


def _segment_entries(columns: dict[str, NDArray[Any]]) -> list[ImageEntry] | None:
    if "segment_image_ids" not in columns:
        return None
    names = tuple(f"segment_{name}" for name in _SEGMENT_COLUMNS)
    pieces = _pieces(columns, names, columns["segment_lengths"])
    lost: list[tuple[Any, ...]] = [(None,)] * len(pieces)
    if "lost" in columns:
        lost = _pieces(columns, ("lost",), columns["lost_lengths"])
    rows = zip(columns["segment_image_ids"].tolist(), pieces, lost, strict=True)
    return [ImageEntry(image_id, 0, ClassCounts(*piece, *rest)) for image_id, piece, rest in rows]


def _fits(columns: dict[str, NDArray[Any]], num_classes: int) -> bool:
    """Whether all numbers are finite, all class ids classes of the model, and all queries its queries."""
    if not all(np.isfinite(columns[name]).all() for name in (*_BOX_COLUMNS, *_TRUTH_COLUMNS)):
        return False
    names = ("labels", "truth_labels", "segment_classes")
    classes = np.concatenate([columns[name] for name in names if name in columns])
    ranges = [(classes, num_classes)]
    if "lost" in columns:
        kinds = (num_classes, len(SEGMENT_FATES), num_classes + 1)
        ranges += [(columns["lost"][:, at] + (at == 2), count) for at, count in enumerate(kinds)]
    if "queries" in columns and "num_queries" in columns:
        ranges.append((columns["queries"], int(columns["num_queries"][0])))
    return all(len(ids) == 0 or (ids.min() >= 0 and ids.max() < count) for ids, count in ranges)
