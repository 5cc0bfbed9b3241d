"""The tasks of a Label Studio export: which annotation of each is taken, and which image it is of.

Formats: https://labelstud.io/guide/export ("JSON" and "JSON-MIN"), https://labelstud.io/guide/task_format.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from detr_hf.data.image_files import IMAGE_SUFFIXES, ImageFiles
from detr_hf.data.issues import Issue

LOCAL = "/data/local-files/?d="
_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_HEAD = re.compile(r"^\ufeff?\s*[\[{]")
_ANNOTATIONS = re.compile(r'"(?:annotations|completions|predictions)"\s*:\s*\[')
_OWN_KEYS = re.compile(
    r'"(?:was_cancelled|completed_by|file_upload|to_name|annotation_id|original_width|total_annotations)"\s*:'
)
_LABELS = re.compile(r'"(?:rectangle|polygon|brush|ellipse|keypoint)labels"\s*:')


@dataclass
class Task:
    """One image and what was annotated in it.

    Attributes:
        number: of the task in Label Studio; None where it has none.
        data: what was given to annotate: the image's URL under a key that the project chose.
        annotations: by several annotators, maybe.
        predictions: how many there are; they are no truth.
    """

    number: Any
    data: dict[str, Any]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    predictions: int = 0

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
        others = []
        if len(valid) > 1:
            others.append(f"{len(valid) - 1} annotations of others")
        if cancelled := len(self.annotations) - len(valid):
            others.append(f"{cancelled} cancelled")
        if self.predictions:
            others.append(f"{self.predictions} predictions")
        left = f"{self.name}: {', '.join(others)}" if others else ""
        if not valid:
            return [], left, f"{self.name} is not annotated"
        best = next((one for one in valid if one.get("ground_truth") is True), valid[0])
        results = best.get("result")
        return results if isinstance(results, list) else [], left, ""


def looks_like_tasks(head: str) -> bool:
    """Whether the beginning of a JSON file is that of an export."""
    if _HEAD.match(head) is None:
        return False
    if _ANNOTATIONS.search(head):  # COCO and others have "annotations", too
        return bool(_OWN_KEYS.search(head) or _LABELS.search(head))
    return bool(_LABELS.search(head) or '"annotation_id"' in head)


def tasks_in(content: Any, file: str, issues: list[Issue]) -> list[Task]:
    """The tasks of a file; entries that are none are told."""
    found: dict[Any, Task] = {}
    for position, entry in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(entry, dict):
            issues.append(Issue("entry-invalid", f"entry {position} is a {type(entry).__name__}", file))
            continue
        task = _task(entry) if isinstance(entry.get("data"), dict) else _task_of_row(entry)
        if task.number is None:
            task.number = position
        known = found.setdefault((str(task.number), repr(sorted(task.data.items()))), task)
        if known is not task:  # JSON-MIN has a row for each annotator
            known.annotations += task.annotations
            known.predictions += task.predictions
    return list(found.values())


def _task(entry: dict[str, Any]) -> Task:
    done = entry.get("annotations", entry.get("completions"))
    predictions = entry.get("predictions")
    return Task(
        entry.get("id"),
        {**entry["data"], "file_upload": entry.get("file_upload")},
        [one for one in done if isinstance(one, dict)] if isinstance(done, list) else [],
        len(predictions) if isinstance(predictions, list) else 0,
    )


def _task_of_row(entry: dict[str, Any]) -> Task:
    """A row of JSON-MIN: data and regions side by side, under the names that the project gave them."""
    data = {key: value for key, value in entry.items() if isinstance(value, str)}
    regions = [one for value in entry.values() if isinstance(value, list) for one in value]
    results = [
        {
            "type": _kind(one),
            "value": one,
            **{key: one.get(key) for key in ("original_width", "original_height")},
        }
        for one in regions
        if isinstance(one, dict)
    ]
    times = {"created_at", "updated_at", "lead_time"}
    return Task(
        entry.get("id"),
        {key: value for key, value in data.items() if key not in times},
        [{"result": results}],
    )


def _kind(region: dict[str, Any]) -> str:
    return next((key for key in region if key.endswith("labels")), "region")


class TaskImages:
    """The images of tasks among the files that are there."""

    def __init__(self, folder: Path) -> None:
        self.files = ImageFiles(folder)

    @cached_property
    def _by_stored_name(self) -> dict[str, list[str]]:
        """Images by the name under which the web server stores an upload: as Django cleans it."""
        found: dict[str, list[str]] = {}
        for name in self.files.names:
            stored = re.sub(r"[^-\w.]", "", PurePosixPath(name).name.strip().replace(" ", "_"))
            found.setdefault(stored, []).append(name)
        return found

    def find(self, task: Task) -> tuple[str | None, str, Issue | None]:
        """The image of a task.

        Folders are those of the server and are not compared; another name than it says is told.

        Returns:
            its name relative to the folder, None where it is not there; what the task says; and an issue.
        """
        said = _said(task.data)
        if not said:
            return None, task.name, Issue("file-name", f"{task.name} names no image", task.name)
        path = _path(said)
        name = PurePosixPath(path.replace("\\", "/")).name
        found, issue = self.files.find(path)
        if issue is not None and issue.code == "image-missing" and _PREFIX.match(name):
            original = _PREFIX.sub("", name)
            found, _ = self.files.find(original)
            stored = self._by_stored_name.get(original, [])
            if found is None and len(stored) == 1:
                found = stored[0]
        if found is None:
            return None, said[:200], issue
        same = PurePosixPath(found).name == name
        return found, said, None if same else Issue("file-renamed", f"{task.name} says '{said[:200]}'", found)


def _said(data: dict[str, Any]) -> str:
    """The image among the values of a task: the project chooses the key."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value.strip()}
    if "image" in texts:
        return texts["image"]
    named = (
        value for value in texts.values() if PurePosixPath(_path(value)).suffix.lower() in IMAGE_SUFFIXES
    )
    return next(named, next((value for value in texts.values() if "/" in value), ""))


def _path(said: str) -> str:
    """The path in a URL, in the ways of Label Studio's storages."""
    if LOCAL in said:
        return unquote(said.split(LOCAL, 1)[1])
    try:
        url = urlsplit(said)
        stored = parse_qs(url.query).get("fileuri", [])
    except ValueError:
        return said
    if stored:  # /tasks/1/resolve/?fileuri=<the file's URI in base64>
        try:
            return _path(base64.b64decode(stored[0]).decode())
        except (binascii.Error, UnicodeDecodeError):
            return said
    return unquote(url.path) if url.scheme and url.netloc else said
