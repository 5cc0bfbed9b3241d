"""Class folders: one export of CVAT a class, each in a folder of its name; each is read as COCO is.

Layout "outlines" (CVAT's "COCO 1.0", https://docs.cvat.ai/docs/dataset_management/formats/format-coco/):
``<class>/coco.json`` and ``<class>/images/``. Layout "panoptic" (https://cocodataset.org/#format-data):
``<class>/annotations/<class>.json``, its PNG files below ``<class>/annotations/``. Folders of both may stand
side by side: then samples with an ``id_map`` are of the second layout, and ``is_panoptic`` is False.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.archive import FolderFiles
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.coco import CocoDetection
from detr_hf.data.sources.coco_file import CocoSource
from detr_hf.data.sources.coco_layout import AnnotationFile
from detr_hf.data.sources.coco_panoptic import CocoPanoptic
from detr_hf.errors import UserError
from detr_hf.foreign_files import damaged_text, is_within
from detr_hf.labels import construction_labels
from detr_hf.recipe.prepare import Reading

FORMAT = "class-folders"
TITLE = "class folders of CVAT exports"
LOOKS_FOR = "folders <class>/ with coco.json or annotations/<class>.json beside images/"
ORDER = 35  # after the formats that a file of their own gives away
NOTE_FILE = "class_details.txt"
NOTE_LENGTH = 2000  # characters of it that are shown
_REMARK = re.compile(r"[\s_]*\([^()]*\)\s*$")  # how far the work is: "concrete_pump_(50%)"


def detect(path: Path) -> bool:
    """Whether a folder in it is a class folder."""
    return path.is_dir() and any(_is_class_folder(path / name) for name in _folders(path))


def _is_class_folder(folder: Path) -> bool:
    has_maps = (folder / "images").is_dir() and any((folder / "annotations").glob("*.json"))
    return has_maps or (folder / "coco.json").is_file()


def _folders(root: Path) -> list[str]:
    try:
        entries = os.scandir(root)
        return sorted(one.name for one in entries if os.path.isdir(one.path) and one.name[0] != ".")
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
        settings = repr(self._reading), *sorted(self._known)
        return hash_of_words([FORMAT, hash_of_folder(self._root), *settings])

    @property
    def is_panoptic(self) -> bool:  # type: ignore[override]
        """Whether all class folders have id maps."""
        return {facts.is_panoptic for facts in self._facts.values()} - {None} == {True}

    @cached_property
    def _facts(self) -> dict[str, FolderFacts]:
        """By class folder. Annotation files are read here and again for the samples, and not kept."""
        return {name: self._facts_of(name) for name in _folders(self._root)}

    def _facts_of(self, name: str) -> FolderFacts:
        source, images = self._opened(name), self._images(name)
        samples = {sample.file_name for sample in self._samples(name, source)}
        issues = [
            Issue("not-read", "no image by its name", file)
            for file in (f"{name}/images/{other}" for other in images.others)
            if file not in samples
        ]
        note = self._root / name / NOTE_FILE
        if note.is_file() and not note.is_symlink() and (text := damaged_text(note)[:NOTE_LENGTH].strip()):
            issues.append(Issue("folder-note", text, name))
        if source is None:
            return FolderFacts(None, [], issues, len(samples))
        classes = self._classes(name, source)
        issues += [issue for issue in source.issues() if issue.code != "file-unlisted"]
        return FolderFacts(source.is_panoptic, classes.categories, issues + classes.issues, len(samples))

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
        """As `Source.samples`, by class folder: what its annotation file lists, then other files by name."""
        number = 0
        for name in _folders(self._root):
            for sample in self._samples(name, self._opened(name)):
                number += 1
                yield replace(sample, image_id=number)

    def __len__(self) -> int:
        return sum(facts.images for facts in self._facts.values())

    def _samples(self, name: str, source: CocoSource | None) -> Iterator[Sample]:
        listed = set()
        if source is not None:
            classes = self._classes(name, source)
            for sample in source.samples():
                listed.add(sample.file_name)
                file = f"{name}/images/{sample.file_name}"
                objects = [classes.named(found) for found in sample.objects]
                issues = tuple(replace(issue, file=file) for issue in sample.issues)
                yield replace(sample, file_name=file, objects=objects, issues=issues)
        images = self._images(name)
        links, code = set(images.links_out), "no-annotations" if source is None else "unlisted"
        for other in sorted({*images.names, *links} - listed):
            file = f"{name}/images/{other}"
            issue = Issue("image-link" if other in links else code, "", file)
            yield Sample(None, file, 0, [], issues=(issue,))

    def _images(self, name: str) -> ImageFiles:
        return ImageFiles(self._root / name / "images", self._root)

    def _opened(self, name: str) -> CocoSource | None:
        """The annotation file of a class folder, by ``layout``; None where there is none.

        Raises:
            UserError: there are several that might be meant, it is too large, or links lead out.
        """
        folder, reading = self._root / name, self._reading
        for part in (folder, folder / "images", folder / "annotations", folder / "coco.json"):
            self._require_within(part)
        outlines = folder / "coco.json" if os.path.lexists(folder / "coco.json") else None
        panoptic = _panoptic_file(folder)
        chosen = {"outlines": outlines, "panoptic": panoptic, "auto": outlines or panoptic}[reading.layout]
        if chosen is None:
            return None
        self._require_within(chosen)
        shown = chosen.relative_to(self._root).as_posix()
        limit, size = reading.largest_json_mib, chosen.stat().st_size if chosen.is_file() else 0
        if size > limit << 20:
            raise UserError(
                f"{shown}: refused, the file has {size / (1 << 20):,.0f} MiB and the limit is {limit} MiB; "
                "split the class folder, or raise read.largest_json_mib"
            )
        several = outlines is not None and panoptic is not None
        remarks = [Issue("two-layouts", f"{chosen.name} is read (read.layout)", name)] if several else []
        layout = {"images": f"{name}/images", "panoptic": f"{name}/annotations"}
        file = AnnotationFile(FolderFiles(self._root), shown, shown, "train", layout=layout)
        if chosen == panoptic:  # without an id map, nothing is known of an image
            place = Place(self._root, shown, reading=replace(reading, unlisted_images="drop"))
            return CocoPanoptic(place, file, remarks)
        return CocoDetection(Place(self._root, shown, reading=reading), file, remarks)

    def _require_within(self, path: Path) -> None:
        if not is_within(path, os.path.realpath(self._root)):
            out = f"it is a link that leads out of {self._root}"
            raise UserError(f"{path}: refused, {out}; put the files themselves there")

    def _classes(self, folder: str, source: CocoSource) -> FolderClasses:
        """Class names of one annotation file.

        The folder's class is its name as it is where a known class or a category of its annotations is called
        so ("skid_steer_loader_(bobcat)"), else without the remark in brackets. With ``class_names``
        "annotations" a category keeps its name; one that differs from the folder's only in case, spaces or a
        remark is spelled like the folder, unless it is a known class. With "folder" every thing is of the
        folder's class; stuff keeps its name.
        """
        naming, entries = self._reading.class_names, source.categories()
        names = {entry["name"].strip() for entry in entries}
        own = folder if folder in self._known | names else class_of_folder(folder)

        def spelled(name: str, is_thing: bool) -> str:
            if naming == "folder" and is_thing:
                return own
            same = class_of_folder(name).casefold() == class_of_folder(folder).casefold()
            return own if same and name not in self._known else name

        made = FolderClasses(source.is_panoptic, {}, [], [])
        for entry in entries:
            said, isthing = entry["name"], int(bool(entry.get("isthing", 1)))
            name = made.spelled[said] = spelled(said.strip(), bool(isthing))
            if name not in [one["name"] for one in made.categories]:
                color = {"color": entry["color"]} if entry.get("color") else {}
                made.categories.append({"name": name, "isthing": isthing} | color)
            if name != said and said in source.used_classes:
                made.issues.append(Issue("class-spelling", f"'{said}' is now '{name}'", folder))
        if naming == "annotations" and not source.is_panoptic:
            others = {made.spelled[said] for said in source.used_classes} - {own}
            made.issues.extend(Issue("other-class", name, folder) for name in sorted(others))
        return made


@dataclass(frozen=True)
class FolderClasses:
    """Class names of one annotation file.

    Attributes:
        is_panoptic: whether its stuff was drawn by a machine, as it is in that layout.
        spelled: by what the file calls them.
        categories: name, isthing and maybe color of each class, each name once, in the file's order.
        issues: folders whose class is spelled or named otherwise in the annotations.
    """

    is_panoptic: bool
    spelled: dict[str, str]
    categories: list[dict[str, Any]]
    issues: list[Issue]

    def named(self, found: Annotation) -> Annotation:
        """The object under its class's name here."""
        name = self.spelled.get(found.category or "")
        stuff = [one["name"] for one in self.categories if not one["isthing"]]
        is_pseudo = self.is_panoptic and name in stuff
        return replace(found, category=name, extra={"pseudo": True} if is_pseudo else found.extra)


def class_of_folder(folder: str) -> str:
    """A folder's name without a remark in brackets at its end, with "_" for spaces."""
    return re.sub(r"\s+", "_", _REMARK.sub("", folder).strip()) or folder


def _panoptic_file(folder: Path) -> Path | None:
    """``annotations/<class>.json``, or the only JSON file in ``annotations``."""
    named = folder / "annotations" / f"{folder.name}.json"
    if named.is_file():
        return named
    found = sorted((folder / "annotations").glob("*.json"))
    if len(found) > 1:
        raise UserError(
            f"{folder / 'annotations'}: holds {len(found)} JSON files and none is named {named.name}; "
            "keep the one that belongs to this class"
        )
    return found[0] if found else None
