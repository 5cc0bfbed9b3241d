"""The annotation file of a class folder: which one it is, what it holds, and what its classes are called."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sources.coco import PAINTED_SHARE
from detr_hf.data.sources.coco_values import Values
from detr_hf.errors import UserError
from detr_hf.foreign_files import is_within, parse_json, read_bytes
from detr_hf.recipe.prepare import Reading

LISTS = ("images", "annotations", "categories")
_REMARK = re.compile(r"[\s_]*\([^()]*\)\s*$")  # how far the work is: "concrete_pump_(50%)"


class ClassExport:
    """A COCO file of either layout.

    Attributes:
        file: its path relative to the data set, "/"-separated.
        is_panoptic: whether its annotations list the segments of id maps.
        images, annotations, categories: its lists, without entries that are no objects.
        files_of_id: the file names that stand under each image id, both as text.
        issues: entries that are no objects, categories that are none.
    """

    def __init__(self, root: Path, file: str, largest_mib: int) -> None:
        self.file = file
        self.issues: list[Issue] = []
        content = _loaded(root / file, file, largest_mib)
        self.images = self._entries(content, "images")
        self.annotations = self._entries(content, "annotations")
        self.categories = list(self._sound_categories(self._entries(content, "categories")))
        self.is_panoptic = any("segments_info" in entry for entry in self.annotations)
        self._painted = sum(
            isinstance(entry.get("segmentation"), dict) and Values(entry, "", "").flag("iscrowd")
            for entry in self.annotations
        )
        self.files_of_id: dict[str, set[str]] = defaultdict(set)
        for entry in self.images:
            self.files_of_id[text_of(entry.get("id"))].add(text_of(entry.get("file_name")))

    def _entries(self, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
        kept = [entry for entry in content[key] if isinstance(entry, dict)]
        lost = len(content[key]) - len(kept)
        self.issues += [Issue("entry-invalid", f"in '{key}'", self.file)] * lost
        return kept

    def _sound_categories(self, entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            name = entry.get("name")
            if type(entry.get("id")) is int and isinstance(name, str) and name.strip():
                yield entry
            else:
                said = f"{text_of(entry)} needs a whole number `id` and a text `name`"
                self.issues.append(Issue("category-invalid", said, self.file))

    def painted_are_objects(self, reading: Reading) -> bool:
        """Whether run lengths that are crowds are single objects: CVAT exports what was painted so."""
        if reading.painted_masks != "auto":
            return reading.painted_masks == "objects"
        return self._painted > PAINTED_SHARE * len(self.annotations)

    def used_categories(self) -> set[int]:
        """Category ids that objects or segments have."""
        segments = [found for entry in self.annotations for found in segments_of(entry)]
        numbers = [entry.get("category_id") for entry in (*self.annotations, *segments)]
        return {number for number in numbers if type(number) is int}


def segments_of(annotation: dict[str, Any]) -> list[dict[str, Any]]:
    """The segments of a panoptic annotation."""
    found = annotation.get("segments_info")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def find_export(root: Path, name: str, reading: Reading) -> tuple[ClassExport | None, list[Issue]]:
    """The annotation file of a class folder, by ``reading.layout``; None where there is none.

    Raises:
        UserError: there are several that might be meant, or it cannot be used.
    """
    outlines: Path | None = root / name / "coco.json"
    outlines = outlines if outlines is not None and os.path.lexists(outlines) else None
    panoptic = _panoptic_file(root / name, name)
    chosen = {"outlines": outlines, "panoptic": panoptic, "auto": outlines or panoptic}[reading.layout]
    if chosen is None:
        return None, []
    require_within(chosen, root)
    export = ClassExport(root, chosen.relative_to(root).as_posix(), reading.largest_json_mib)
    several = outlines is not None and panoptic is not None
    issues = [Issue("two-layouts", f"{chosen.name} is read (read.layout)", name)] if several else []
    return export, issues + export.issues


def _panoptic_file(folder: Path, name: str) -> Path | None:
    """``annotations/<class>.json``, or the only JSON file in ``annotations``."""
    named = folder / "annotations" / f"{name}.json"
    if named.is_file():
        return named
    found = sorted((folder / "annotations").glob("*.json"))
    if len(found) > 1:
        raise UserError(
            f"{folder / 'annotations'}: holds {len(found)} JSON files and none is named {name}.json; "
            "keep the one that belongs to this class"
        )
    return found[0] if found else None


def require_within(path: Path, root: Path) -> None:
    """Raises:
    UserError: links lead from the path out of ``root``.
    """
    if not is_within(path, os.path.realpath(root)):
        raise UserError(
            f"{path}: refused, it is a link that leads out of {root}; put the files themselves there"
        )


def _loaded(file: Path, shown: str, largest_mib: int) -> dict[str, Any]:
    """A COCO file with its three lists."""
    size = file.stat().st_size if file.is_file() else 0
    if size > largest_mib << 20:
        raise UserError(
            f"{shown}: refused, the file has {size / (1 << 20):,.0f} MiB and the limit is {largest_mib} MiB; "
            "split the class folder, or raise read.largest_json_mib"
        )
    content = parse_json(read_bytes(file, largest_mib << 20, name=shown), shown, any_number=True)
    lacking = ["an object at the top"]
    if isinstance(content, dict):
        lacking = [f"the list '{key}'" for key in LISTS if not isinstance(content.get(key), list)]
    if lacking:
        raise UserError(f"{shown}: is no COCO file, it lacks {', '.join(lacking)}; export it as COCO 1.0")
    return content


def text_of(value: Any) -> str:
    """A foreign value for a message or as a key; whole numbers of thousands of digits have no text."""
    try:
        return str(value)[:200]
    except ValueError:
        return "a number of thousands of digits"


def class_of_folder(folder: str) -> str:
    """A folder's name without a remark in brackets at its end, with "_" for spaces."""
    return re.sub(r"\s+", "_", _REMARK.sub("", folder).strip()) or folder


class FolderClasses:
    """Class names by the category ids of one annotation file.

    The folder's class is its name as it is where a known class or a category of its annotations is called so
    ("skid_steer_loader_(bobcat)"), else without the remark in brackets. With ``naming`` "annotations" a
    category keeps its name; one that differs from the folder's only in case, spaces or a remark is spelled
    like the folder, unless it is a known class. With "folder" every thing is of the folder's class; stuff
    keeps its name.

    Attributes:
        categories: name, isthing and maybe color of each class, each name once, in the file's order.
        issues: folders whose class is spelled or named otherwise in the annotations.
    """

    def __init__(self, folder: str, export: ClassExport, naming: str, known: frozenset[str]) -> None:
        self._folder, self._naming, self._known = folder, naming, known
        names = {entry["name"].strip() for entry in export.categories}
        self._own = folder if folder in known | names else class_of_folder(folder)
        self._of_id: dict[int, dict[str, Any]] = {}
        self.issues: list[Issue] = []
        by_name: dict[str, dict[str, Any]] = {}
        used = export.used_categories()
        for entry in export.categories:
            name = self._spelled(entry["name"].strip(), is_thing=bool(entry.get("isthing", 1)))
            color = {"color": entry["color"]} if entry.get("color") else {}
            facts = {"name": name, "isthing": int(bool(entry.get("isthing", 1)))} | color
            self._of_id[entry["id"]] = by_name.setdefault(name, facts)
            if name != entry["name"] and entry["id"] in used:
                self.issues.append(Issue("class-spelling", f"'{entry['name']}' is now '{name}'", folder))
        self.categories = list(by_name.values())
        if naming == "annotations" and not export.is_panoptic:
            others = {self._of_id[number]["name"] for number in used & self._of_id.keys()} - {self._own}
            self.issues += [Issue("other-class", name, folder) for name in sorted(others)]

    @property
    def names(self) -> dict[str, str]:
        """Class names by the text of the category id."""
        return {str(number): entry["name"] for number, entry in self._of_id.items()}

    @property
    def stuff(self) -> frozenset[str]:
        """Names of the classes that the file lists as stuff."""
        return frozenset(entry["name"] for entry in self.categories if not entry["isthing"])

    def _spelled(self, said: str, is_thing: bool) -> str:
        if self._naming == "folder" and is_thing:
            return self._own
        if said in self._known:
            return said
        is_own = class_of_folder(said).casefold() == class_of_folder(self._folder).casefold()
        return self._own if is_own else said
