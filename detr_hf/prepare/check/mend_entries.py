"""First half of mending a COCO file: values, ids and references, without opening a picture."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import inside
from detr_hf.prepare.check.changes import Changes
from detr_hf.prepare.check.entries import category_fault

Entry = dict[str, Any]


def plain_number(value: Any) -> Any:
    """Text and whole floats as the number that they spell; anything else as it is."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def mend_categories(categories: list[Entry], changes: Changes) -> tuple[list[Entry], dict[int, int]]:
    """Categories with one id and one name each, and the id that stands for each old one."""
    kept: list[Entry] = []
    names: dict[str, int] = {}
    new_id: dict[int, int] = {}
    for old in categories:
        entry = old | {"id": plain_number(old.get("id"))}
        if not isinstance(entry.get("name"), str) or not entry["name"].strip():
            entry["name"] = f"category {entry['id']}"
        for key in ("isthing", "color"):
            if key in entry and category_fault({"id": 1, "name": "x", key: entry[key]}):
                del entry[key]
        if category_fault(entry) or (entry["id"] in new_id and entry["name"] not in names):
            changes.add("", "category dropped", f"{old}")
            continue
        if entry["name"] in names:
            new_id.setdefault(entry["id"], names[entry["name"]])
            changes.add("", "category merged", f"{old} is the same as id {names[entry['name']]}")
            continue
        if entry != old:
            changes.add("", "category corrected", f"{old} is now {entry}")
        kept.append(entry)
        names[entry["name"]] = new_id[entry["id"]] = entry["id"]
    return kept, new_id


def mend_images(images: list[Entry], folder: Path, changes: Changes) -> list[Entry]:
    """Images with an id of their own and a file in the folder, also where only its extension differs."""
    kept: list[Entry] = []
    seen: set[str] = set()
    similar = _Similar(folder)
    for old in images:
        name, number = old.get("file_name"), old.get("id")
        if isinstance(number, float):
            number = plain_number(number)
        usable = type(number) is int or (isinstance(number, str) and number != "")
        if not usable or str(number) in seen:
            changes.add(name, "image dropped", f"id {old.get('id')!r} stands twice or is none")
            continue
        entry = old | {"id": number}
        for key in ("width", "height"):
            if isinstance(entry.get(key), str | float):
                entry[key] = plain_number(entry[key])
                changes.add(name, "types corrected", f"{key} {old[key]!r} is now {entry[key]!r}")
        if said := similar.resolve(entry):
            changes.add(name, "image dropped", said)
            continue
        if entry["file_name"] != name:
            changes.add(name, "file name corrected", f"the file is {entry['file_name']}")
        seen.add(str(number))
        kept.append(entry)
    return kept


class _Similar:
    """Finds files whose name differs in case or extension only; lists each folder once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def resolve(self, entry: Entry) -> str:
        """Why the entry has no file; empty where it has one, under a corrected name if need be."""
        try:
            path = inside(self._folder, entry.get("file_name"))
        except UserError as fault:
            return str(fault)
        if path.is_file():
            return ""
        candidates = self._files(path.parent).get(path.stem.lower(), [])
        if len(candidates) != 1:
            return f"there is no file {path}"
        entry["file_name"] = path.with_name(candidates[0]).relative_to(self._folder).as_posix()
        return ""

    def _files(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            stems: dict[str, list[str]] = defaultdict(list)
            for file in folder.iterdir() if folder.is_dir() else ():
                stems[file.stem.lower()].append(file.name)
            self._listed[folder] = stems
        return self._listed[folder]


def mend_objects(objects: list[Entry], new_id: dict[int, int], file: Any, changes: Changes) -> list[Entry]:
    """Annotations or segments with plain numbers, of categories that are known."""
    kept = []
    for old in objects:
        entry = dict(old)
        entry["category_id"] = plain_number(old.get("category_id"))
        entry["iscrowd"] = int(plain_number(old.get("iscrowd", 0)) in (1, True))
        if isinstance(old.get("bbox"), list):
            entry["bbox"] = [
                plain_number(value) if isinstance(value, str) else value for value in old["bbox"]
            ]
        if isinstance(old.get("area"), str):
            entry["area"] = plain_number(old["area"])
        where = f"object {old.get('id')!r}"
        known = type(entry["category_id"]) is int and entry["category_id"] in new_id
        if not known:
            changes.add(file, "object dropped", f"{where}: unknown category {old.get('category_id')!r}")
            continue
        if changed := [key for key in old if repr(old[key]) != repr(entry[key])]:
            said = ", ".join(f"{key} {old[key]!r} is now {entry[key]!r}" for key in changed)
            changes.add(file, "types corrected", f"{where}: {said}")
        entry["category_id"] = new_id[entry["category_id"]]
        kept.append(entry)
    return kept


def by_image(annotations: list[Entry], images: list[Entry], changes: Changes) -> dict[str, list[Entry]]:
    """Annotations by the text of their image's id; those of no image are dropped."""
    groups: dict[str, list[Entry]] = {str(entry["id"]): [] for entry in images}
    for old in annotations:
        number = old.get("image_id")
        if isinstance(number, float):
            number = plain_number(number)
            changes.add("", "types corrected", f"annotation {old.get('id')!r}: image_id {old['image_id']!r}")
        if str(number) not in groups:
            changes.add(
                "", "annotation dropped", f"{old.get('id')!r}: image {old.get('image_id')!r} is not listed"
            )
            continue
        groups[str(number)].append(old | {"image_id": number})
    return groups


def number_again(annotations: list[Entry], changes: Changes) -> None:
    """Give annotations whose id is doubled, or no id, a new one above all others."""
    used = {entry["id"] for entry in annotations if type(entry.get("id")) is int}
    free = max(used, default=0) + 1
    seen: set[Any] = set()
    for entry in annotations:
        number = entry.get("id")
        if type(number) is not int or number in seen:
            changes.add("", "annotation numbered", f"{number!r} of image {entry['image_id']} is now {free}")
            entry["id"], free = free, free + 1
        seen.add(entry["id"])
