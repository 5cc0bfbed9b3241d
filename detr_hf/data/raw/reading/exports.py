"""The annotation file of a class folder: which one it is, and what it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.raw.findings import Finding
from detr_hf.data.raw.reading.files import FolderFiles, require_within
from detr_hf.errors import UserError
from detr_hf.foreign_files import parse_json, read_bytes
from detr_hf.recipe.prepare import Reading

LISTS = ("images", "annotations", "categories")


class CocoExport:
    """A COCO file of either layout.

    Attributes:
        file: its path relative to RAW, "/"-separated.
        layout: "outlines" or "panoptic".
        images, annotations, categories: its lists; entries that are no objects are left out and listed.
        names_of_id: the file names that stand under each image id.
        findings: those entries.
    """

    def __init__(self, raw: Path, file: str, content: dict[str, Any]) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.images = self._entries(content, "images")
        self.annotations = self._entries(content, "annotations")
        self.categories = self._entries(content, "categories")
        with_segments = any("segments_info" in entry for entry in self.annotations)
        self.layout = "panoptic" if with_segments else "outlines"
        self.names_of_id: dict[str, set[str]] = defaultdict(set)
        for entry in self.images:
            self.names_of_id[str(entry.get("id"))].add(str(entry.get("file_name")))
        self._raw, self._folder = raw, (raw / file).parent

    def _entries(self, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
        kept = [entry for entry in content[key] if isinstance(entry, dict)]
        if lost := len(content[key]) - len(kept):
            self.findings += [Finding("not_a_record", self.file, f"in '{key}'")] * lost
        return kept

    @cached_property
    def _pngs(self) -> FolderFiles:
        return FolderFiles(self._raw, self._folder)

    def png(self, said: Any) -> str | None:
        """The PNG below the annotation file's folder that ``said`` names, relative to RAW; None if none."""
        try:
            name = self._pngs.plain(said)
        except UserError:
            return None
        found = [name] if self._pngs.has(name) else self._pngs.like(name, set())
        folder = self._folder.relative_to(self._raw).as_posix()
        return f"{folder}/{found[0]}" if len(found) == 1 else None


def find_export(raw: Path, name: str, settings: Reading) -> tuple[CocoExport | None, list[Finding]]:
    """The annotation file of a class folder, by ``settings.layout``; None where there is none.

    Raises:
        UserError: there are several that might be meant, or it cannot be used.
    """
    outlines = raw / name / "coco.json"
    panoptic = _panoptic_file(raw / name, name)
    findings = []
    if outlines.is_file() and panoptic is not None:
        read = panoptic if settings.layout == "panoptic" else outlines
        findings.append(Finding("two_layouts", name, f"{read.name} was read (read.layout)"))
    by_layout = {
        "outlines": outlines,
        "panoptic": panoptic,
        "auto": outlines if outlines.is_file() else panoptic,
    }
    file = by_layout[settings.layout]
    if file is None or not file.is_file():
        return None, findings
    require_within(file, raw)
    relative = file.relative_to(raw).as_posix()
    export = CocoExport(raw, relative, load_export(file, relative, settings.largest_json_mib))
    return export, findings + export.findings


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


def load_export(file: Path, shown: str, largest_mib: int) -> dict[str, Any]:
    """A COCO file with its three lists.

    Raises:
        UserError: it is larger than ``largest_mib`` MiB (reading takes several times that in memory), is not
            JSON, or lacks a list.
    """
    size = file.stat().st_size
    if size > largest_mib << 20:
        raise UserError(
            f"{shown}: refused, the file has {size / (1 << 20):,.0f} MiB and the limit is {largest_mib} MiB; "
            "split the class folder, or raise read.largest_json_mib"
        )
    content = parse_json(read_bytes(file, largest_mib << 20, name=shown), shown, any_number=True)
    lacking = _lacking(content)
    if lacking:
        raise UserError(
            f"{shown}: is no COCO file, it lacks {', '.join(lacking)}; export it again as COCO 1.0"
        )
    return content


def _lacking(content: Any) -> Iterable[str]:
    if not isinstance(content, dict):
        return ["an object at the top"]
    return [f"the list '{key}'" for key in LISTS if not isinstance(content.get(key), list)]
