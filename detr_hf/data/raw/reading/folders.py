"""Step `read`: the annotations of both raw layouts as JSON lines, one picture a line, files found.

Layout "outlines" (CVAT's "COCO 1.0"): ``<class>/coco.json`` and ``<class>/images/``. Layout "panoptic":
``<class>/annotations/<class>.json`` in COCO's panoptic format, its PNG files below ``<class>/annotations/``.
One annotation file is in memory at a time; no picture is opened.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detr_hf.data.raw.findings import Finding, finding_to_list
from detr_hf.data.raw.reading.classes import FolderClasses
from detr_hf.data.raw.reading.exports import CocoExport, find_export
from detr_hf.data.raw.reading.files import FolderFiles, require_within
from detr_hf.errors import UserError
from detr_hf.files import whole_file
from detr_hf.recipe.prepare import Reading

DETAILS_LENGTH = 2000  # characters of a class_details.txt that the report shows


@dataclass(frozen=True)
class RawPicture:
    """A picture with its annotations as exported, classes by name.

    Attributes:
        file: path relative to RAW, "/"-separated.
        name: path relative to the images folder; with the class folder it makes the identity.
        declared_hw: height and width as exported, unchecked; None where they are missing.
        annotations: ``id``, ``category`` (a class name), ``segmentation``, ``bbox``, ``iscrowd`` as exported.
        png: path of the id map relative to RAW, in the layout "panoptic"; its segments are the annotations.
    """

    file: str
    name: str
    class_folder: str
    declared_hw: list[Any] | None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    png: str | None = None


Outcome = tuple[RawPicture | None, list[Finding]]
"""A picture, or None where it is dropped, and what was found."""


@dataclass(frozen=True)
class FolderFacts:
    """What a class folder holds: the first line of what ``read`` writes of it.

    ``categories`` are those of its annotation file, under the names they get here: name, isthing and, where
    the file gives one, color.
    """

    class_folder: str
    layout: str
    details: str
    categories: list[dict[str, Any]]
    pictures: int


def class_folders(raw: Path) -> tuple[list[str], list[Finding]]:
    """The class folders of RAW in order, and what else stands beside them.

    Raises:
        UserError: there is no such folder, it has no class folder, or one of them is a link out of it.
    """
    if not raw.is_dir():
        raise UserError(f"{raw}: there is no such folder of raw exports")
    entries = sorted(raw.iterdir(), key=lambda path: path.name)
    folders = [path.name for path in entries if path.is_dir() and not path.name.startswith(".")]
    for name in folders:
        require_within(raw / name, raw)
    if not folders:
        raise UserError(f"{raw}: holds no class folders; give the folder with <class>/coco.json in it")
    others = [path.name for path in entries if path.name not in folders]
    return folders, [Finding("not_read", name, _why_not_read(name)) for name in others]


def _why_not_read(name: str) -> str:
    archive = name.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"))
    return "an archive; unpack it" if archive else "not a class folder"


def read_folder(raw: Path, name: str, settings: Reading) -> tuple[FolderFacts, Iterator[Outcome]]:
    """One class folder.

    Returns:
        its facts, and an outcome for every picture of the folder and every entry without one.

    Raises:
        UserError: the annotation file is too large, is not COCO, or a link leads out of RAW.
    """
    folder = raw / name
    for part in ("images", "annotations", "coco.json"):
        require_within(folder / part, raw)
    files = FolderFiles(raw, folder / "images")
    details = _class_details(folder)
    export, findings = find_export(raw, name, settings)
    findings += [Finding("not_read", f"{name}/images/{other}") for other in files.others]
    findings += [Finding("refused_link", f"{name}/images/{link}") for link in files.links_out]
    if export is None:
        findings += [Finding("no_annotations", f"{name}/images/{picture}") for picture in files.names]
        facts = FolderFacts(name, "none", details, [], len(files.names))
        return facts, iter([(None, findings)])
    classes = FolderClasses(name, export, settings.class_names)
    findings += classes.findings
    facts = FolderFacts(name, export.layout, details, classes.categories, len(files.names))
    return facts, _Folder(raw, name, export, files, classes, settings).outcomes(findings)


def _class_details(folder: Path) -> str:
    file = folder / "class_details.txt"
    if not file.is_file() or file.is_symlink():
        return ""
    with file.open(encoding="utf-8", errors="replace") as text:
        return text.read(DETAILS_LENGTH).strip()


@dataclass
class _Folder:
    """A class folder while it is read."""

    raw: Path
    name: str
    export: CocoExport
    files: FolderFiles
    classes: FolderClasses
    settings: Reading

    def outcomes(self, findings: list[Finding]) -> Iterator[Outcome]:
        """Outcomes of the folder as a whole, then of its pictures in the order of their names."""
        found, lost = self._found_files()
        groups = self._groups(findings)
        entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for at, entry in enumerate(self.export.images):
            if at in found:
                entries[found[at]].append(entry)
        yield None, [*findings, *lost]
        said = {found[at]: entry["file_name"] for at, entry in enumerate(self.export.images) if at in found}
        for picture in self.files.names:
            if picture in entries:
                yield self._listed(picture, said[picture], entries[picture], groups)
            else:
                yield self._unlisted(picture)

    def _found_files(self) -> tuple[dict[int, str], list[Finding]]:
        """The picture of each entry by its place in the list: names that are right first, then the others."""
        found: dict[int, str] = {}
        lost: list[Finding] = []
        loose: list[tuple[int, str]] = []
        for at, entry in enumerate(self.export.images):
            said = entry.get("file_name")
            try:
                name = self.files.plain(said)
            except UserError:
                lost.append(Finding("refused_name", self.name, f"file_name {str(said)[:200]!r}"))
                continue
            if self.files.has(name):
                found[at] = name
            else:
                loose.append((at, name))
        taken = set(found.values())
        for at, name in loose:
            candidates = self.files.like(name, taken)
            if len(candidates) == 1:
                found[at] = candidates[0]
                taken.add(candidates[0])
            elif f"{name}" not in self.files.links_out:
                kind = "ambiguous_file" if candidates else "no_file"
                lost.append(Finding(kind, f"{self.name}/images/{name}", ", ".join(candidates[:5])))
        return found, lost

    def _groups(self, findings: list[Finding]) -> dict[str, list[dict[str, Any]]]:
        """Annotations by the text of their image id."""
        known = {str(entry.get("id")) for entry in self.export.images}
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in self.export.annotations:
            image = str(entry.get("image_id"))
            if image in known:
                groups[image].append(entry)
            else:
                where = f"annotation {entry.get('id', entry.get('file_name'))}, image_id {image[:50]}"
                findings.append(Finding("no_picture", self.export.file, where))
        return groups

    def _listed(
        self,
        picture: str,
        said: str,
        entries: list[dict[str, Any]],
        groups: dict[str, list[dict[str, Any]]],
    ) -> Outcome:
        file = f"{self.name}/images/{picture}"
        ids = list(dict.fromkeys(str(entry.get("id")) for entry in entries))
        said_of_id = self.export.names_of_id
        if shared := [number for number in ids if len(said_of_id[number]) > 1]:
            return None, [Finding("id_twice", file, f"id {shared[0]}")]
        findings = []
        if said != picture:
            findings.append(Finding("other_name", file, f"the annotations say '{said}'"))
        if len(entries) > 1:
            findings.append(Finding("listed_twice", file, f"ids {', '.join(ids)}"))
        annotations = [entry for number in ids for entry in groups.get(number, ())]
        first = entries[0]
        declared = [first.get("height"), first.get("width")]
        made = RawPicture(
            file, picture, self.name, None if None in declared else declared, *self._objects(annotations)
        )
        if self.export.layout == "panoptic" and made.png is None:
            return None, [*findings, Finding("bad_png", file, "no annotation names a PNG that is there")]
        return made, findings

    def _objects(self, annotations: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
        """Annotations with their class by name (None where the file has no such category), and the PNG."""
        if self.export.layout == "panoptic":
            return self._segments(annotations)
        keys = ("id", "segmentation", "bbox", "iscrowd")
        return [self._named({key: entry.get(key) for key in keys}, entry) for entry in annotations], None

    def _segments(self, annotations: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
        for entry in annotations:
            png = self.export.png(entry.get("file_name"))
            segments = entry.get("segments_info")
            if png is not None and isinstance(segments, list):
                entries = [segment for segment in segments if isinstance(segment, dict)]
                keys = ("id", "iscrowd")
                return [self._named({key: found.get(key) for key in keys}, found) for found in entries], png
        return [], None

    def _named(self, kept: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
        category = entry.get("category_id")
        return kept | {"category": self.classes.name_of(category), "category_id": category}

    def _unlisted(self, picture: str) -> Outcome:
        file = f"{self.name}/images/{picture}"
        if self.settings.unlisted_images == "drop" or self.export.layout == "panoptic":
            return None, [Finding("unlisted", file)]
        return RawPicture(file, picture, self.name, None), [Finding("unlisted_kept", file)]


def write_folder(path: Path, facts: FolderFacts, outcomes: Iterator[Outcome]) -> None:
    """The facts, then the outcomes, as JSON lines; the file appears under its name when it is whole."""
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as lines:
        lines.write(f"{json.dumps(asdict(facts), sort_keys=True)}\n")
        for picture, findings in outcomes:
            line = {
                "picture": None if picture is None else asdict(picture),
                "findings": [finding_to_list(finding) for finding in findings],
            }
            lines.write(f"{json.dumps(line, separators=(',', ':'))}\n")


def folder_facts(path: Path) -> FolderFacts:
    """The facts of a file that ``write_folder`` wrote."""
    with path.open(encoding="utf-8") as lines:
        return FolderFacts(**json.loads(lines.readline()))


def read_pictures(path: Path) -> Iterator[RawPicture]:
    """The pictures of a file that ``write_folder`` wrote, one at a time."""
    with path.open(encoding="utf-8") as lines:
        lines.readline()
        for line in lines:
            picture = json.loads(line)["picture"]
            if picture is not None:
                yield RawPicture(**picture)
