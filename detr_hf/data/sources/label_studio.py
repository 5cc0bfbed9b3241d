"""Label Studio's JSON export: rectangles, polygons, ellipses, brush masks; of tasks for import, predictions.

Format: https://labelstud.io/guide/export and https://labelstud.io/guide/task_format. An export is held in
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
from detr_hf.data.sources.base import MAX_JSON_BYTES, Opened, Place, annotated_size, head_of
from detr_hf.data.sources.label_studio_regions import Regions, is_shape, labels_in
from detr_hf.data.sources.splits import SPLITS, TRAIN, DataSet, numbered, open_all
from detr_hf.errors import UserError, quantity
from detr_hf.foreign_files import parse_json, read_bytes
from detr_hf.images import MAX_PIXELS

FORMAT = "label-studio"
TITLE = "Label Studio (JSON)"
LOOKS_FOR = "a JSON file with tasks and their `annotations`, and the images beside it"
ORDER = 40

HEAD_BYTES = 200_000
LOCAL = "/data/local-files/?d="
_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_HEAD = re.compile(r"^\ufeff?\s*[\[{]")
_ANNOTATIONS = re.compile(r'"(?:annotations|predictions)"\s*:\s*\[')  # COCO and others have these, too
_OWN_KEYS = re.compile(
    r'"(?:was_cancelled|completed_by|file_upload|to_name|original_width|total_annotations|model_version'
    r'|(?:rectangle|polygon|brush|ellipse|keypoint)labels)"\s*:'
)


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
    head = head_of(file, HEAD_BYTES).decode("utf-8", "replace")
    return all(pattern.search(head) for pattern in (_HEAD, _ANNOTATIONS, _OWN_KEYS))


def open_splits(place: Place) -> Opened:
    """Files that are named like splits are these; all others are together "train".

    Raises:
        UserError: there is no export, or one is no JSON.
    """
    return open_all(FORMAT, _LabelStudio(place))


@dataclass
class Task:
    """An image and what is taken as the truth about it."""

    number: Any  # in Label Studio, or its place in the file
    said: str  # the image; empty where it names none
    results: list[Any] | None  # None where it is not annotated
    not_taken: str  # annotations and predictions beside these

    @property
    def name(self) -> str:
        return f"task {str(self.number)[:40]}"


def _task_of(entry: dict[str, Any], position: int, take_predictions: bool) -> Task:
    """Of several annotations the one that is marked as ground truth is taken, else the first; none that was
    cancelled. Of several predictions the first, where these are taken.
    """
    found, guesses = (entry.get(key) for key in ("annotations", "predictions"))
    annotations = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    valid = [one for one in annotations if one.get("was_cancelled") is not True]
    counts = {
        "annotations of others": max(len(valid) - 1, 0),
        "cancelled": len(annotations) - len(valid),
        "predictions": len(guesses) if isinstance(guesses, list) else 0,
    }
    results = None
    if take_predictions and isinstance(guesses, list) and guesses and isinstance(guesses[0], dict):
        results = guesses[0]["result"] if isinstance(guesses[0].get("result"), list) else []
        counts["predictions"] -= 1
    if valid:
        best = next((one for one in valid if one.get("ground_truth") is True), valid[0])
        results = best["result"] if isinstance(best.get("result"), list) else []
    number = position if entry.get("id") is None else entry["id"]
    said = _said({**entry["data"], "file_upload": entry.get("file_upload")})
    not_taken = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return Task(number, said, results, not_taken)


@dataclass
class Entry:
    """An image with its tasks: most often one."""

    name: str | None  # relative to the folder of images; None where it is not there
    said: str  # what the first task says
    issues: list[Issue]
    tasks: list[Task] = field(default_factory=list)


class _LabelStudio(DataSet):
    def __init__(self, place: Place) -> None:
        self.place = place
        files = _exports(place.path) or [file for file in [place.path] if file.is_file()]
        if not files:
            raise UserError(f"{place.name}: there is no JSON file of Label Studio in {place.path}")
        self._images = ImageFiles(place.images or (place.path if place.path.is_dir() else place.path.parent))
        self._found: list[Issue] = []
        by_split = all(file.stem.lower() in SPLITS for file in files)
        read: dict[Path, list[Any]] = {}
        for file in files:
            content = read_bytes(file, MAX_JSON_BYTES, "annotation file")
            entries = parse_json(content, str(file), any_number=True)
            read[file] = entries if isinstance(entries, list) else [entries]
        all_entries = [entry for entries in read.values() for entry in entries if isinstance(entry, dict)]
        guessed = [entry for entry in all_entries if entry.get("predictions")]
        # A file for import, such as `predict` writes it, not an export that nobody has annotated yet.
        take_predictions = bool(guessed) and not any("annotations" in entry for entry in all_entries)
        if take_predictions:
            self._found.append(Issue("predictions-taken", quantity(len(guessed), "task"), files[0].name))
        tasks: dict[str, list[Task]] = defaultdict(list)
        for file, entries in read.items():
            found = tasks[file.stem.lower() if by_split else TRAIN]
            for position, entry in enumerate(entries, start=1):
                if isinstance(entry, dict) and isinstance(entry.get("data"), dict):
                    found.append(_task_of(entry, position, take_predictions))
                else:
                    self._found.append(Issue("entry-invalid", f"entry {position} is no task", file.name))
        self.splits = {split: self._entries(found) for split, found in tasks.items()}
        taken = (task.results or [] for found in tasks.values() for task in found)
        self._labels = {label for results in taken for label in labels_in(results)}

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
        said = task.said
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
            return Sample(None, entry.said, number, [], issues=tuple(entry.issues))
        path = self._images.folder / entry.name
        issues, regions = list(entry.issues), []
        for task in entry.tasks:
            if task.not_taken:
                issues.append(Issue("not-taken", f"{task.name}: {task.not_taken}", entry.name))
            regions += [task.results] if task.results is not None else []
        if not regions:
            names = " and ".join(task.name for task in entry.tasks)
            issues.append(Issue("no-annotations", f"{names}: not annotated", entry.name))
            return Sample(path, entry.name, number, [], issues=tuple(issues))
        size_hw = _size_of(path, [result for results in regions for result in results])
        objects: list[Annotation] = []
        if size_hw is not None:
            reader = Regions(size_hw, entry.name)
            objects = [found for results in regions for found in reader.annotations(results)]
            issues += reader.issues
        return Sample(path, entry.name, number, objects, size_hw, issues=tuple(issues))


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
    return annotated_size(None, path) if any(map(is_shape, results)) else None
