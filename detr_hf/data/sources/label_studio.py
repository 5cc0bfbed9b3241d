"""Label Studio's JSON and JSON-MIN exports: rectangles, polygons, ellipses and brush masks.

Formats: https://labelstud.io/guide/export and https://labelstud.io/guide/task_format. An export is held in
memory.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from detr_hf.data.image_files import ImageFiles, is_image
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import MAX_JSON_BYTES, Opened, Place
from detr_hf.data.sources.label_studio_regions import Regions, is_shape, labels_in
from detr_hf.data.sources.splits import SPLITS, TRAIN, DataSet, numbered, open_all
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, parse_json, read_bytes
from detr_hf.images import MAX_PIXELS, image_size

FORMAT = "label-studio"
TITLE = "Label Studio (JSON or JSON-MIN)"
LOOKS_FOR = "a JSON file with tasks and their `annotations`, and the images beside it"
ORDER = 40

HEAD_BYTES = 200_000
LOCAL = "/data/local-files/?d="
_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_HEAD = re.compile(r"^\ufeff?\s*[\[{]")
_ANNOTATIONS = re.compile(r'"(?:annotations|completions|predictions)"\s*:\s*\[')
_OWN_KEYS = re.compile(
    r'"(?:was_cancelled|completed_by|file_upload|to_name|annotation_id|original_width|total_annotations)"\s*:'
)
_LABELS = re.compile(r'"(?:rectangle|polygon|brush|ellipse|keypoint)labels"\s*:')


def detect(path: Path) -> bool:
    """Whether the path is a JSON export, or a folder that holds one."""
    return bool(_exports(path))


def _exports(path: Path) -> list[Path]:
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return []
    return [file for file in files if file.suffix.lower() == ".json" and _is_export(file)]


def _is_export(file: Path) -> bool:
    try:
        with open_file(file) as opened:
            head = opened.read(HEAD_BYTES).decode("utf-8", "replace")
    except UserError:
        return False
    if _HEAD.match(head) is None:
        return False
    if _ANNOTATIONS.search(head):  # COCO and others have "annotations", too
        return bool(_OWN_KEYS.search(head) or _LABELS.search(head))
    return bool(_LABELS.search(head) or '"annotation_id"' in head)


def open_splits(place: Place) -> Opened:
    """Files that are named like splits are these; all others are together "train".

    Raises:
        UserError: there is no export, or one is no JSON.
    """
    return open_all(FORMAT, _LabelStudio(place))


@dataclass
class Task:
    """One image and what was annotated in it."""

    number: Any  # in Label Studio, or its place in the file
    data: dict[str, Any]  # has the image's URL under a key that the project chose
    annotations: list[dict[str, Any]]  # by several annotators, maybe
    predictions: int = 0  # how many there are; they are no truth

    @property
    def name(self) -> str:
        return f"task {str(self.number)[:40]}"

    def results(self) -> tuple[list[Any], str, str]:
        """What is taken as the truth: of several annotations the one that is marked as ground truth, else the
        first; none that was cancelled.

        Returns:
            its results, why others are not taken, and why there are none.
        """
        valid = [one for one in self.annotations if one.get("was_cancelled") is not True]
        counts = {
            "annotations of others": max(len(valid) - 1, 0),
            "cancelled": len(self.annotations) - len(valid),
            "predictions": self.predictions,
        }
        others = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        left = f"{self.name}: {others}" if others else ""
        if not valid:
            return [], left, f"{self.name} is not annotated"
        best = next((one for one in valid if one.get("ground_truth") is True), valid[0])
        results = best.get("result")
        return results if isinstance(results, list) else [], left, ""


def _tasks_in(content: Any, file: str, issues: list[Issue]) -> list[Task]:
    """The tasks of a file; entries that are none are told."""
    found: dict[Any, Task] = {}
    for position, entry in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(entry, dict):
            issues.append(Issue("entry-invalid", f"entry {position} is a {type(entry).__name__}", file))
            continue
        number = position if entry.get("id") is None else entry["id"]
        task = _task(entry, number) if isinstance(entry.get("data"), dict) else _task_of_row(entry, number)
        known = found.setdefault((str(task.number), repr(sorted(task.data.items()))), task)
        if known is not task:  # JSON-MIN has a row for each annotator
            known.annotations += task.annotations
            known.predictions += task.predictions
    return list(found.values())


def _task(entry: dict[str, Any], number: Any) -> Task:
    done, predictions = entry.get("annotations", entry.get("completions")), entry.get("predictions")
    annotations = [one for one in done if isinstance(one, dict)] if isinstance(done, list) else []
    data = {**entry["data"], "file_upload": entry.get("file_upload")}
    return Task(number, data, annotations, len(predictions) if isinstance(predictions, list) else 0)


def _task_of_row(entry: dict[str, Any], number: Any) -> Task:
    """A row of JSON-MIN: data and regions side by side, under the names that the project gave them."""
    times = ("created_at", "updated_at", "lead_time")
    data = {key: value for key, value in entry.items() if isinstance(value, str) and key not in times}
    lists = (value for value in entry.values() if isinstance(value, list))
    regions = [one for value in lists for one in value if isinstance(one, dict)]
    kinds = (next((key for key in one if key.endswith("labels")), "region") for one in regions)
    results = [{**one, "type": kind, "value": one} for kind, one in zip(kinds, regions, strict=True)]
    return Task(number, data, [{"result": results}])


@dataclass
class Entry:
    """An image with its tasks: most often one."""

    name: str | None  # relative to the folder of images; None where it is not there
    said: str  # what the first task says
    issues: list[Issue]
    tasks: list[Task] = field(default_factory=list)
    number: int = 0


class _LabelStudio(DataSet):
    def __init__(self, place: Place) -> None:
        self.place = place
        files = _exports(place.path) or [file for file in [place.path] if file.is_file()]
        if not files:
            raise UserError(f"{place.name}: there is no JSON file of Label Studio in {place.path}")
        self._images = ImageFiles(place.images or (place.path if place.path.is_dir() else place.path.parent))
        self._found: list[Issue] = []
        by_split = all(file.stem.lower() in SPLITS for file in files)
        tasks: dict[str, list[Task]] = defaultdict(list)
        for file in files:
            content = parse_json(
                read_bytes(file, MAX_JSON_BYTES, "annotation file"), str(file), any_number=True
            )
            found = _tasks_in(content, file.name, self._found)
            tasks[file.stem.lower() if by_split else TRAIN] += found
        self.splits = {split: self._entries(found) for split, found in tasks.items()}
        results = (task.results()[0] for found in tasks.values() for task in found)
        self._labels = {label for taken in results for label in labels_in(taken)}

    def _entries(self, tasks: list[Task]) -> list[Entry]:
        """In the order of the files; tasks of one image together."""
        entries: dict[str, Entry] = {}
        for task in tasks:
            name, said, issue = self._find(task)
            made = Entry(name, said, [issue] if issue is not None else [])
            entry = entries.setdefault(name or f"\0{said}", made)
            entry.tasks.append(task)
            if entry is not made:
                text = f"{entry.tasks[0].name} and {task.name}"
                entry.issues.append(Issue("image-twice", text, name or said))
        ids = [entry.tasks[0].number for entry in entries.values()]
        are_ids = all(map(is_int64, ids)) and len(set(ids)) == len(ids)
        for position, (entry, id_) in enumerate(zip(entries.values(), ids, strict=True), start=1):
            entry.number = id_ if are_ids else position
        return list(entries.values())

    @cached_property
    def _by_stored_name(self) -> dict[str, list[str]]:
        """Images by the name under which the web server stores an upload: as Django cleans it."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self._images.names:
            found[re.sub(r"[^-\w.]", "", PurePosixPath(name).name.strip().replace(" ", "_"))].append(name)
        return found

    def _find(self, task: Task) -> tuple[str | None, str, Issue | None]:
        """The image of a task. Folders are those of the server and are not compared.

        Returns:
            its name relative to the folder, None where it is not there; what the task says; and an issue.
        """
        said = _said(task.data)
        if not said:
            return None, task.name, Issue("file-name", f"{task.name} names no image", task.name)
        path = _path(said)
        name = PurePosixPath(path.replace("\\", "/")).name
        found, issue = self._images.find(path)
        if issue is not None and issue.code == "image-missing" and _PREFIX.match(name):
            original = _PREFIX.sub("", name)
            found, _ = self._images.find(original)
            stored = self._by_stored_name.get(original, [])
            found = stored[0] if found is None and len(stored) == 1 else found
        if found is None:
            return None, said[:200], issue
        same = PurePosixPath(found).name == name
        return found, said, None if same else Issue("file-renamed", f"{task.name} says '{said[:200]}'", found)

    def categories(self) -> list[dict[str, Any]]:
        """The labels of what is taken; an export has no list of them."""
        return numbered(self._labels)

    def issues(self) -> Iterable[Issue]:
        yield from self._found
        listed = {entry.name for entries in self.splits.values() for entry in entries}
        for name in self._images.names:
            if name not in listed:
                yield Issue("unlisted", "no task has it", name)

    def sample(self, entry: Entry, number: int) -> Sample:
        if entry.name is None:
            return Sample(None, entry.said, entry.number, [], issues=tuple(entry.issues))
        path = self._images.folder / entry.name
        results, without, issues = [], [], list(entry.issues)
        for task in entry.tasks:
            taken, left, why_none = task.results()
            results.append(taken)
            issues += [Issue("not-taken", left, entry.name)] if left else []
            without += [Issue("no-annotations", why_none, entry.name)] if why_none else []
        if len(without) == len(entry.tasks):
            return Sample(path, entry.name, entry.number, [], issues=(*issues, *without))
        size_hw = _size_of(path, [result for taken in results for result in taken])
        objects: list[Annotation] = []
        if size_hw is not None:
            regions = Regions(size_hw, entry.name)
            objects = [found for taken in results for found in regions.annotations(taken)]
            issues += regions.issues
        return Sample(path, entry.name, entry.number, objects, size_hw, issues=tuple(issues))


def _said(data: dict[str, Any]) -> str:
    """The image among the values of a task: the project chooses the key."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value.strip()}
    if "image" in texts:
        return texts["image"]
    named = (value for value in texts.values() if is_image(_path(value)))
    return next(named, next((value for value in texts.values() if "/" in value), ""))


def _path(said: str) -> str:
    """The path in a URL, in the ways of Label Studio's storages."""
    if LOCAL in said:
        return unquote(said.split(LOCAL, 1)[1])
    try:
        url = urlsplit(said)
        stored = parse_qs(url.query).get("fileuri", [])
        if stored:  # /tasks/1/resolve/?fileuri=<the file's URI in base64>
            return _path(base64.b64decode(stored[0]).decode())
    except (ValueError, binascii.Error):
        return said
    return unquote(url.path) if url.scheme and url.netloc else said


def _size_of(path: Path, results: list[Any]) -> tuple[int, int] | None:
    """Height and width of the image as it was shown; the file's where percent need one and none is said."""
    for result in results:
        said = result if isinstance(result, dict) else {}
        height, width = said.get("original_height"), said.get("original_width")
        if is_int64(height) and is_int64(width) and min(height, width) > 0 and height * width <= MAX_PIXELS:
            return height, width
    try:
        return image_size(path) if any(map(is_shape, results)) else None
    except UserError:  # `repair` says what is wrong with the image
        return None
