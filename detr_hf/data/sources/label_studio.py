"""Label Studio's JSON and JSON-MIN exports: rectangles, polygons, ellipses and brush masks.

Formats: https://labelstud.io/guide/export; see `label_studio_tasks` and `label_studio_shapes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import MAX_JSON_BYTES, Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.label_studio_shapes import Regions, is_shape, labels_in
from detr_hf.data.sources.label_studio_tasks import Task, TaskImages, looks_like_tasks, tasks_in
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, parse_json, read_bytes
from detr_hf.images import MAX_PIXELS, image_size

FORMAT = "label-studio"
TITLE = "Label Studio (JSON or JSON-MIN)"
LOOKS_FOR = "a JSON file with tasks and their `annotations`, and the images beside it"
ORDER = 40

HEAD_BYTES = 200_000
SPLITS = ("train", "val", "valid", "validation", "test")


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
            return looks_like_tasks(opened.read(HEAD_BYTES).decode("utf-8", "replace"))
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """Files that are named like splits are these; all others are together "train".

    Raises:
        UserError: there is no export, or one is no JSON.
    """
    files = _exports(place.path) or [file for file in [place.path] if file.is_file()]
    if not files:
        raise UserError(f"{place.name}: there is no JSON file of Label Studio in {place.path}")
    splits: dict[str, list[Path]] = {}
    by_split = all(file.stem.lower() in SPLITS for file in files)
    for file in files:
        splits.setdefault(file.stem.lower() if by_split else "train", []).append(file)
    folder = place.path if place.path.is_dir() else place.path.parent
    images = TaskImages(place.images or folder)
    several = len(splits) > 1
    names = {split: f"{place.name}, split '{split}'" if several else place.name for split in splits}
    return Opened({split: LabelStudioSource(names[split], splits[split], images) for split in splits})


@dataclass
class Entry:
    """An image with its tasks: most often one.

    Attributes:
        name: relative to the folder of images; None where it is not there.
        said: what the first task says.
        issues: with the image.
    """

    name: str | None
    said: str
    issues: list[Issue]
    tasks: list[Task] = field(default_factory=list)


class LabelStudioSource(Source):
    """One split: all tasks of its exports, which are held in memory."""

    def __init__(self, name: str, files: list[Path], images: TaskImages) -> None:
        self.name = name
        self._files = files
        self._images = images
        self._found: list[Issue] = []

    @property
    def key(self) -> str:
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
        return hash_of_words([FORMAT, *map(str, states), hash_of_folder(self._images.files.folder)])

    @cached_property
    def _tasks(self) -> list[Task]:
        tasks = []
        for file in self._files:
            content = read_bytes(file, MAX_JSON_BYTES, "annotation file", str(file))
            tasks += tasks_in(parse_json(content, str(file), any_number=True), file.name, self._found)
        return tasks

    @cached_property
    def _entries(self) -> list[Entry]:
        """In the order of the files; tasks of one image together."""
        entries: dict[str, Entry] = {}
        for task in self._tasks:
            name, said, issue = self._images.find(task)
            made = Entry(name, said, [issue] if issue is not None else [])
            entry = entries.setdefault(name or f"\0{said}", made)
            entry.tasks.append(task)
            if entry is not made:
                entry.issues.append(
                    Issue("image-twice", f"{entry.tasks[0].name} and {task.name}", name or said)
                )
        return list(entries.values())

    def categories(self) -> list[dict[str, Any]]:
        """The labels of what is taken; an export has no list of them."""
        names = {label for task in self._tasks for label in labels_in(task.results()[0])}
        return [{"id": number, "name": name} for number, name in enumerate(sorted(names), start=1)]

    def issues(self) -> Iterable[Issue]:
        assert self._tasks is not None  # reading them finds the issues
        yield from self._found
        listed = {entry.name for entry in self._entries}
        for name in self._images.files.names:
            if name not in listed:
                yield Issue("unlisted", "no task has it", name)

    def samples(self) -> Iterator[Sample]:
        numbers = [entry.tasks[0].number for entry in self._entries]
        are_ids = all(map(is_int64, numbers)) and len(set(numbers)) == len(numbers)
        for position, entry in enumerate(self._entries, start=1):
            yield self._sample(entry.tasks[0].number if are_ids else position, entry)

    def __len__(self) -> int:
        return len(self._entries)

    def _sample(self, number: int, entry: Entry) -> Sample:
        if entry.name is None:
            return Sample(None, entry.said, number, [], issues=tuple(entry.issues))
        path = self._images.files.folder / entry.name
        results, without, issues = [], [], list(entry.issues)
        for task in entry.tasks:
            taken, left, why_none = task.results()
            results.append(taken)
            issues += [Issue("not-taken", left, entry.name)] if left else []
            without += [Issue("no-annotations", why_none, entry.name)] if why_none else []
        if len(without) == len(entry.tasks):
            return Sample(path, entry.name, number, [], issues=(*issues, *without))
        everything = [result for taken in results for result in taken]
        declared_hw = next((size for one in everything if (size := _declared(one)) is not None), None)
        size_hw = declared_hw or _size_of(path, entry.name, everything)
        objects: list[Annotation] = []
        if size_hw is not None:
            regions = Regions(size_hw, entry.name)
            objects = [found for taken in results for found in regions.annotations(taken)]
            issues += regions.issues
        return Sample(path, entry.name, number, objects, size_hw, issues=tuple(issues))


def _declared(result: Any) -> tuple[int, int] | None:
    """Height and width of the image as it was shown; None where a result has none that can be."""
    if not isinstance(result, dict):
        return None
    height, width = result.get("original_height"), result.get("original_width")
    if not is_int64(height) or not is_int64(width) or min(height, width) < 1 or height * width > MAX_PIXELS:
        return None
    return height, width


def _size_of(path: Path, name: str, results: list[Any]) -> tuple[int, int] | None:
    """The file's size, where percent need one and the export has none."""
    if not any(map(is_shape, results)):
        return None
    try:
        return image_size(path, name)
    except UserError:  # `repair` says what is wrong with the image
        return None
