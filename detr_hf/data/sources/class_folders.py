"""Class folders: one export of CVAT a class, each in a folder of its name.

Layout "outlines" (CVAT's "COCO 1.0", https://docs.cvat.ai/docs/dataset_management/formats/format-coco/):
``<class>/coco.json`` and ``<class>/images/``. Layout "panoptic" (https://cocodataset.org/#format-data):
``<class>/annotations/<class>.json``, its PNG files below ``<class>/annotations/``. Folders of both may stand
side by side: then samples with an ``id_map`` are of the second layout, and ``is_panoptic`` is False.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.class_export import (
    ClassExport,
    FolderClasses,
    find_export,
    require_within,
    segments_of,
    text_of,
)
from detr_hf.data.sources.coco_values import Values, annotation_of
from detr_hf.errors import UserError
from detr_hf.foreign_files import damaged_text
from detr_hf.labels import construction_labels
from detr_hf.recipe.prepare import Reading

FORMAT = "class-folders"
TITLE = "class folders of CVAT exports"
LOOKS_FOR = "folders <class>/ with coco.json or annotations/<class>.json beside images/"
ORDER = 35  # after the formats that a file of their own gives away
NOTE_FILE = "class_details.txt"
NOTE_LENGTH = 2000  # characters of it that are shown
Entry = dict[str, Any]


def detect(path: Path) -> bool:
    """Whether a folder in it is a class folder."""
    return path.is_dir() and any(_is_class_folder(path / name) for name in _folders(path))


def _is_class_folder(folder: Path) -> bool:
    if (folder / "coco.json").is_file():
        return True
    return (folder / "images").is_dir() and any((folder / "annotations").glob("*.json"))


def _folders(root: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []


def open_splits(place: Place) -> Opened:
    """Raises:
    UserError: there is no class folder, or one of them is a link out of the folder.
    """
    if not place.path.is_dir() or not _folders(place.path):
        raise UserError(f"{place.name}: holds no class folders; give the folder with <class>/coco.json in it")
    known = frozenset((place.labels or construction_labels()).names)
    return Opened({"train": ClassFolders(place.name, place.path.absolute(), place.reading, known)})


@dataclass(frozen=True)
class FolderFacts:
    """What a class folder holds; ``is_panoptic`` is None where it has no annotation file."""

    is_panoptic: bool | None
    categories: list[dict[str, Any]]
    issues: list[Issue]
    images: int


class ClassFolders(Source):
    """All class folders as one source; ``file_name`` is ``<class>/images/<file>``.

    Args:
        name: for messages.
        root: holds the class folders.
        reading: settings that say how doubtful annotations are understood.
        known: names of classes that are taken as they are.
    """

    def __init__(self, name: str, root: Path, reading: Reading, known: frozenset[str]) -> None:
        self.name, self._root, self._reading, self._known = name, root, reading, known

    @property
    def key(self) -> str:
        """As `Source.key`."""
        settings = repr(self._reading), *sorted(self._known)
        return hash_of_words([FORMAT, hash_of_folder(self._root), *settings])

    @cached_property
    def _facts(self) -> dict[str, FolderFacts]:
        """By class folder. Annotation files are read here and again for the samples, and not kept."""
        opened = ((name, self._opened(name)) for name in _folders(self._root))
        return {name: folder.facts() for name, folder in opened}

    @property
    def is_panoptic(self) -> bool:  # type: ignore[override]
        """Whether all class folders have id maps."""
        layouts = {facts.is_panoptic for facts in self._facts.values()} - {None}
        return layouts == {True}

    def categories(self) -> list[dict[str, Any]]:
        """Things by name, then stuff by name, numbered from 1.

        Raises:
            UserError: a class is a thing in one folder and stuff in another.
        """
        known: dict[str, tuple[str, dict[str, Any]]] = {}
        for folder, facts in self._facts.items():
            for entry in facts.categories:
                first, same = known.setdefault(entry["name"], (folder, entry))
                if same["isthing"] != entry["isthing"]:
                    kinds = ["stuff", "a thing"]
                    raise UserError(
                        f"class {entry['name']} is {kinds[same['isthing']]} in {first} and "
                        f"{kinds[entry['isthing']]} in {folder}; correct `isthing` in one of them"
                    )
        entries = sorted((entry for _, entry in known.values()), key=lambda e: (-e["isthing"], e["name"]))
        return [{"id": number, **entry} for number, entry in enumerate(entries, start=1)]

    def issues(self) -> Iterable[Issue]:
        """As `Source.issues`."""
        folders = set(_folders(self._root))
        for name in sorted(os.listdir(self._root)):
            if name not in folders:
                archive = name.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"))
                yield Issue("not-read", "an archive; unpack it" if archive else "not a class folder", name)
        layouts = [facts.is_panoptic for facts in self._facts.values() if facts.is_panoptic is not None]
        if 0 < sum(layouts) < len(layouts):
            yield Issue("layouts-mixed", f"{sum(layouts)} of {len(layouts)} have id maps")
        for facts in self._facts.values():
            yield from facts.issues

    def samples(self) -> Iterator[Sample]:
        """As `Source.samples`, by class folder and name."""
        number = 0
        for name in _folders(self._root):
            for sample in self._opened(name).samples():
                number += 1
                yield replace(sample, image_id=number)

    def __len__(self) -> int:
        return sum(facts.images for facts in self._facts.values())

    def _opened(self, name: str) -> _Folder:
        folder = self._root / name
        for part in ("", "images", "annotations", "coco.json"):
            require_within(folder / part, self._root)
        export, issues = find_export(self._root, name, self._reading)
        classes = None
        if export is not None:
            classes = FolderClasses(name, export, self._reading.class_names, self._known)
            issues = issues + classes.issues
        return _Folder(self._root, name, self._reading, export, classes, issues)


@dataclass
class _Folder:
    """A class folder while it is read."""

    root: Path
    name: str
    reading: Reading
    export: ClassExport | None
    classes: FolderClasses | None
    issues: list[Issue]
    files: ImageFiles = field(init=False)
    pngs: ImageFiles = field(init=False)

    def __post_init__(self) -> None:
        self.files = ImageFiles(self.root / self.name / "images", self.root)
        self.pngs = ImageFiles(self.root / self.name / "annotations", self.root)

    def facts(self) -> FolderFacts:
        images = sum(1 for _ in self.samples())
        issues = [*self.issues, *self._about_folder()]
        if self.export is None or self.classes is None:
            return FolderFacts(None, [], issues, images)
        orphans = [entry for entry in self.export.annotations if self._id_of(entry) not in self._known_ids]
        for entry in orphans:
            said = f"annotation {text_of(entry.get('id', entry.get('file_name')))}"
            text = f"{said}, image_id {text_of(entry.get('image_id'))}"
            issues.append(Issue("annotation-orphan", text, self.export.file))
        return FolderFacts(self.export.is_panoptic, self.classes.categories, issues, images)

    def _about_folder(self) -> Iterator[Issue]:
        taken = self._matched[0]
        for other in self.files.others:
            if other not in taken:
                yield Issue("not-read", "no image by its name", self._file(other))
        note = self.root / self.name / NOTE_FILE
        if note.is_file() and not note.is_symlink() and (text := damaged_text(note)[:NOTE_LENGTH].strip()):
            yield Issue("folder-note", text, self.name)

    def samples(self) -> Iterator[Sample]:
        """Files by name, then entries without a file."""
        entries, contested, lost = self._matched
        links = set(self.files.links_out)
        for name in sorted({*self.files.names, *entries, *links}):
            if name in links:
                yield self._dropped(name, Issue("image-link", "", self._file(name)))
            elif name in entries:
                yield self._listed(name, entries[name])
            elif name in contested:
                yield self._dropped(name, replace(contested[name], file=self._file(name)))
            else:
                yield self._unlisted(name)
        for entry, issue in lost:
            # Not its own name, which may lead anywhere: this one only has to be unique.
            name = f"entry {entry + 1} ({issue.code})"
            yield self._dropped(name, replace(issue, file=f"{self.name}/images/{issue.file}"[:300]))

    @cached_property
    def _matched(self) -> tuple[dict[str, list[Entry]], dict[str, Issue], list[tuple[int, Issue]]]:
        """Entries by the file that they mean; files that several entries may mean; entries without a file.

        Names that are right come first: a file serves another name only where none is its own.
        """
        entries: dict[str, list[Entry]] = defaultdict(list)
        loose: list[tuple[int, str | None, Issue]] = []
        images = self.export.images if self.export is not None else []
        for at, entry in enumerate(images):
            name, issue = self.files.find(entry.get("file_name"))
            if name is not None and issue is None:
                entries[name].append(entry)
            elif entry.get("file_name") not in self.files.links_out:  # these have a sample of their own
                assert issue is not None
                loose.append((at, name, issue))
        own = set(entries)
        contested: dict[str, Issue] = {}
        lost = []
        for at, name, issue in loose:
            free = [name] if name is not None else self.files.like(images[at].get("file_name"))
            free = [one for one in free if one not in own]
            if len(free) == 1:
                said = Issue("file-renamed", f"the annotations say '{text_of(images[at]['file_name'])}'")
                entries[free[0]].append(images[at] | {"issue": said})
            elif free:
                contested |= dict.fromkeys(free, issue)
            else:
                text = "the one file like it is listed itself" if name is not None else issue.text
                code = "image-missing" if name is not None else issue.code
                lost.append((at, Issue(code, text, text_of(images[at].get("file_name")))))
        return entries, {name: issue for name, issue in contested.items() if name not in entries}, lost

    @cached_property
    def _known_ids(self) -> frozenset[str]:
        return frozenset(self.export.files_of_id) if self.export is not None else frozenset()

    @cached_property
    def _annotations(self) -> dict[str, list[Entry]]:
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.export.annotations if self.export is not None else ():
            groups[self._id_of(entry)].append(entry)
        return groups

    @staticmethod
    def _id_of(annotation: Entry) -> str:
        return text_of(annotation.get("image_id"))

    def _file(self, name: str) -> str:
        return f"{self.name}/images/{name}"

    def _dropped(self, name: str, issue: Issue) -> Sample:
        return Sample(None, self._file(name), 0, [], issues=(issue,))

    def _unlisted(self, name: str) -> Sample:
        file = self._file(name)
        if self.export is None:
            return self._dropped(name, Issue("no-annotations", "", file))
        if self.reading.unlisted_images == "drop" or self.export.is_panoptic:
            return self._dropped(name, Issue("unlisted", "", file))
        return Sample(self.root / file, file, 0, [], issues=(Issue("unlisted-kept", "", file),))

    def _listed(self, name: str, entries: list[Entry]) -> Sample:
        assert self.export is not None
        file = self._file(name)
        ids = list(dict.fromkeys(text_of(entry.get("id")) for entry in entries))
        if shared := [number for number in ids if len(self.export.files_of_id[number]) > 1]:
            return self._dropped(name, Issue("image-id", f"id {shared[0]} is also of another image", file))
        issues = [replace(entry["issue"], file=file) for entry in entries if "issue" in entry]
        if len(entries) > 1:
            issues.append(Issue("image-twice", f"ids {', '.join(ids)}", file))
        declared = (entries[0].get("height"), entries[0].get("width"))
        annotations = [entry for number in ids for entry in self._annotations.get(number, ())]
        made = Sample(self.root / file, file, 0, [], declared_hw=None if None in declared else declared)
        if self.export.is_panoptic:
            return self._with_segments(made, annotations, issues)
        objects = [self._object(entry, file, issues) for entry in annotations]
        return replace(made, objects=objects, issues=tuple(issues))

    def _object(self, entry: Entry, file: str, issues: list[Issue]) -> Annotation:
        assert self.export is not None and self.classes is not None
        values = Values(entry, f"annotation {text_of(entry.get('id'))}", file)
        made = annotation_of(values, self.classes.names, values.id())
        issues += values.issues
        if (
            made.iscrowd
            and isinstance(made.segmentation, dict)
            and self.export.painted_are_objects(self.reading)
        ):
            issues.append(Issue("painted", values.where, file))
            return replace(made, iscrowd=False)
        return made

    def _with_segments(self, sample: Sample, annotations: list[Entry], issues: list[Issue]) -> Sample:
        """The first annotation whose PNG is there; stuff of this layout was drawn by a machine."""
        for entry in annotations:
            png, renamed = self.pngs.find(entry.get("file_name"))
            if png is None or not isinstance(entry.get("segments_info"), list):
                continue
            if renamed is not None:
                issues.append(replace(renamed, file=sample.file_name))
            objects = [self._segment(found, sample.file_name, issues) for found in segments_of(entry)]
            return replace(sample, objects=objects, id_map=self.pngs.folder / png, issues=tuple(issues))
        said = [f"'{text_of(entry.get('file_name'))}'" for entry in annotations]
        issue = Issue("png-missing", f"there is no file {', '.join(said)}", sample.file_name)
        if not annotations:
            issue = Issue("png-annotation", "none", sample.file_name)
        return replace(sample, image=None, issues=(*issues, issue))

    def _segment(self, entry: Entry, file: str, issues: list[Issue]) -> Annotation:
        assert self.classes is not None
        values = Values(entry, f"segment {text_of(entry.get('id'))}", file)
        made = annotation_of(values, self.classes.names, values.id())
        issues += values.issues
        pseudo = {"pseudo": True} if made.category in self.classes.stuff else {}
        return replace(made, segmentation=None, extra={**made.extra, **pseudo})
