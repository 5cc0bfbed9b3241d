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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detr_hf.data.archive import FolderFiles
from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.coco import CocoDetection
from detr_hf.data.sources.coco_file import CocoSource
from detr_hf.data.sources.coco_layout import AnnotationFile
from detr_hf.data.sources.coco_panoptic import CocoPanoptic
from detr_hf.data.sources.splits import TRAIN, DataSet, open_all
from detr_hf.errors import UserError
from detr_hf.foreign_files import damaged_text, is_within
from detr_hf.labels import construction_labels

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
    UserError: there is no class folder, an annotation file cannot be read, or a link leads out of the folder.
    """
    if not place.path.is_dir() or not _folders(place.path):
        raise UserError(f"{place.name}: holds no class folders; give the folder with <class>/coco.json in it")
    return open_all(FORMAT, _ClassFolders(replace(place, path=place.path.absolute())))


@dataclass
class ClassFolder:
    """What a class folder holds.

    Attributes:
        is_panoptic: whether its stuff was drawn by a machine, as in that layout; None without annotations.
        spelled: its classes by what its annotations call them.
        categories: name, isthing and maybe color of each class, each name once, in the file's order.
        issues: of the folder as a whole.
        images: how many samples it has.
    """

    is_panoptic: bool | None
    spelled: dict[str, str] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    images: int = 0

    def named(self, found: Annotation) -> Annotation:
        """The object under its class's name here."""
        name = self.spelled.get(found.category or "")
        stuff = [one["name"] for one in self.categories if not one["isthing"]]
        is_pseudo = self.is_panoptic and name in stuff
        return replace(found, category=name, extra={"pseudo": True} if is_pseudo else found.extra)


class _ClassFolders(DataSet):
    """All class folders as one split; ``file_name`` is ``<class>/images/<file>``.

    Annotation files are read once for what each folder holds and again for the samples, and not kept.
    """

    def __init__(self, place: Place) -> None:
        self.place, self._root = place, place.path
        self._known = frozenset((place.labels or construction_labels()).names)
        self._folders = {name: self._read(name) for name in _folders(self._root)}
        self.splits = {TRAIN: range(sum(one.images for one in self._folders.values()))}
        self._layouts = [one.is_panoptic for one in self._folders.values() if one.is_panoptic is not None]
        self.is_panoptic = set(self._layouts) == {True}

    def _read(self, name: str) -> ClassFolder:
        source, images = self._opened(name), self._images(name)
        made = ClassFolder(None if source is None else source.is_panoptic)
        if source is not None:
            made.issues += [issue for issue in source.issues() if issue.code != "file-unlisted"]
            self._add_classes(made, name, source)
        samples = {sample.file_name for sample in self._samples(name, source, made)}
        made.images = len(samples)
        others = {f"{name}/images/{other}" for other in images.others} - samples
        made.issues += [Issue("not-read", "no image by its name", other) for other in sorted(others)]
        note = self._root / name / NOTE_FILE
        if note.is_file() and not note.is_symlink() and (text := damaged_text(note)[:NOTE_LENGTH].strip()):
            made.issues.append(Issue("folder-note", text, name))
        return made

    def categories(self) -> list[dict[str, Any]]:
        """Things by name, then stuff by name, numbered from 1.

        Raises:
            UserError: a class is a thing in one folder and stuff in another.
        """
        known: dict[str, tuple[str, dict[str, Any]]] = {}
        for folder, held in self._folders.items():
            for entry in held.categories:
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
        for name in sorted(os.listdir(self._root)):
            if name not in self._folders:
                archive = name.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"))
                yield Issue("not-read", "an archive; unpack it" if archive else "not a class folder", name)
        if len(set(self._layouts)) > 1:
            yield Issue("layouts-mixed", f"{sum(self._layouts)} of {len(self._layouts)} have id maps")
        for held in self._folders.values():
            yield from held.issues

    def samples(self, split: str) -> Iterator[Sample]:
        """By class folder: what its annotation file lists, then other files by name."""
        number = 0
        for name, held in self._folders.items():
            for sample in self._samples(name, self._opened(name), held):
                number += 1
                yield replace(sample, image_id=number)

    def _samples(self, name: str, source: CocoSource | None, held: ClassFolder) -> Iterator[Sample]:
        listed = set()
        for sample in source.samples() if source is not None else ():
            listed.add(sample.file_name)
            file = f"{name}/images/{sample.file_name}"
            objects = [held.named(found) for found in sample.objects]
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
        folder, reading = self._root / name, self.place.reading
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

    def _add_classes(self, made: ClassFolder, folder: str, source: CocoSource) -> None:
        """Class names of one annotation file.

        The folder's class is its name as it is where a known class or a category of its annotations is called
        so ("skid_steer_loader_(bobcat)"), else without the remark in brackets. With ``class_names``
        "annotations" a category keeps its name; one that differs from the folder's only in case, spaces or a
        remark is spelled like the folder, unless it is a known class. With "folder" every thing is of the
        folder's class; stuff keeps its name.
        """
        naming, entries = self.place.reading.class_names, source.categories()
        names = {entry["name"].strip() for entry in entries}
        own = folder if folder in self._known | names else class_of_folder(folder)
        for entry in entries:
            said, isthing = entry["name"], int(bool(entry.get("isthing", 1)))
            name = said.strip()
            same = class_of_folder(name).casefold() == class_of_folder(folder).casefold()
            if (naming == "folder" and isthing) or (same and name not in self._known):
                name = own
            made.spelled[said] = name
            if name not in [one["name"] for one in made.categories]:
                color = {"color": entry["color"]} if entry.get("color") else {}
                made.categories.append({"name": name, "isthing": isthing} | color)
            if name != said and said in source.used_classes:
                made.issues.append(Issue("class-spelling", f"'{said}' is now '{name}'", folder))
        if naming == "annotations" and not source.is_panoptic:
            others = {made.spelled[said] for said in source.used_classes} - {own}
            made.issues += [Issue("other-class", name, folder) for name in sorted(others)]


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
