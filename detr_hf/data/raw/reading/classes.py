"""Which class the objects of a class folder are of: by its name, its annotations, and their spelling."""

from __future__ import annotations

import re
from typing import Any

from detr_hf.data.raw.findings import Finding
from detr_hf.data.raw.reading.exports import CocoExport
from detr_hf.errors import UserError

_REMARK = re.compile(r"[\s_]*\([^()]*\)\s*$")  # how far the work is: "concrete_pump_(50%)"


def class_of_folder(folder: str) -> str:
    """A folder's name without a remark in brackets at its end, with "_" for spaces."""
    return re.sub(r"\s+", "_", _REMARK.sub("", folder).strip()) or folder


class FolderClasses:
    """Class names by the category ids of one annotation file.

    With ``naming`` "annotations" a category keeps its name; one that differs from the folder's only in case,
    spaces or a remark in brackets is spelled like the folder. With "folder" every thing is of the folder's
    class, whatever its label was called; stuff keeps its name.

    Attributes:
        categories: name, isthing and maybe color of each class, each name once, in the file's order.
        findings: folders whose class is spelled or named otherwise in the annotations.
    """

    def __init__(self, folder: str, export: CocoExport, naming: str) -> None:
        self._names: dict[int, str] = {}
        self.categories: list[dict[str, Any]] = []
        self.findings: list[Finding] = []
        own = class_of_folder(folder)
        for entry in export.categories:
            number, said = entry.get("id"), entry.get("name")
            if type(number) is not int or not isinstance(said, str) or not said.strip():
                raise UserError(
                    f"{export.file}: category {entry!r} needs a whole number `id` and a text `name`"
                )
            name = self._spelled(said, own, naming, is_thing=bool(entry.get("isthing", 1)))
            self._add(number, name, entry)
            if name != said and number in _used(export):
                self.findings.append(Finding("class_spelling", folder, f"'{said}' is now '{name}'"))
        used = sorted({self._names[number] for number in _used(export) & self._names.keys()})
        if naming == "annotations" and export.layout == "outlines":
            others = [name for name in used if name != own]
            self.findings += [Finding("other_class", folder, name) for name in others]

    def name_of(self, category: Any) -> str | None:
        """The class of a category id; None where the file does not list it."""
        return self._names.get(category) if type(category) is int else None

    @staticmethod
    def _spelled(said: str, own: str, naming: str, is_thing: bool) -> str:
        if naming == "folder" and is_thing:
            return own
        return own if class_of_folder(said).casefold() == own.casefold() else said.strip()

    def _add(self, number: int, name: str, entry: dict[str, Any]) -> None:
        self._names[number] = name
        if name not in {known["name"] for known in self.categories}:
            facts: dict[str, Any] = {"name": name, "isthing": int(bool(entry.get("isthing", 1)))}
            self.categories.append(facts | ({"color": entry["color"]} if entry.get("color") else {}))


def _used(export: CocoExport) -> set[int]:
    """Category ids that objects or segments have."""
    entries: list[Any] = list(export.annotations)
    entries += [found for entry in export.annotations for found in entry.get("segments_info") or ()]
    numbers = [entry.get("category_id") for entry in entries if isinstance(entry, dict)]
    return {number for number in numbers if type(number) is int}
