"""`detr-hf check --fix`: a mended copy of the annotations, every change listed. The source stays as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from detr_hf.errors import UserError
from detr_hf.files import write_json, write_text
from detr_hf.foreign_files import inside
from detr_hf.labels import LabelMap
from detr_hf.prepare.check.changes import Change, Changes, as_json
from detr_hf.prepare.check.ledger import CheckResult
from detr_hf.prepare.check.mend_entries import (
    Entry,
    by_image,
    mend_categories,
    mend_images,
    mend_objects,
    number_again,
    plain_number,
)
from detr_hf.prepare.check.mend_pictures import Mended, mend_detection
from detr_hf.prepare.check.mend_pngs import mend_panoptic
from detr_hf.prepare.check.rules import RULES
from detr_hf.prepare.check.targets import Target
from detr_hf.prepare.coco import CocoFile, CocoPanoptic
from detr_hf.prepare.findings import Report
from detr_hf.prepare.hf import SavedSplit
from detr_hf.prepare.reading import ENOUGH_TO_JUDGE, in_threads
from detr_hf.prepare.rows import is_beyond, is_box
from detr_hf.recipe import Split
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import write_yaml

CHANGES_FILE = "changes.json"
ROLES = ("train", "validation")
SHARES, CORNERS = "shares", "corners"


def mend_target(
    target: Target, result: CheckResult, out: str | Path, threads: int | None = None
) -> list[Change]:
    """Write a mended copy of the annotations to a new folder, readable as a target of `detr-hf check`.

    COCO files: `<split>/annotations.json` (and `<split>/panoptic/`), `data.yaml` and `changes.json`; pictures
    stay where they are. A saved data set: the same without the rows that have an error.

    Raises:
        UserError: the folder is in use, or a split cannot be read at all.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--fix {out}: is not an empty folder; name a new one")
    sources = {split: opened() for split, opened in target.splits.items()}
    folder.mkdir(parents=True, exist_ok=True)
    if all(isinstance(source, CocoFile) for source in sources.values()):
        changes = _mend_files(
            target, {s: f for s, f in sources.items() if isinstance(f, CocoFile)}, folder, threads
        )
    else:
        changes = _mend_saved(target, result, folder)
    write_json(folder / CHANGES_FILE, as_json(changes))
    return changes


# ---- COCO files


class _File:
    """One COCO file while it is mended."""

    def __init__(self, split: str, source: CocoFile, out: Path, labels: LabelMap | None) -> None:
        self.source, self.out, self.changes = source, out, Changes(split)
        content = source.content
        self.is_panoptic = isinstance(source, CocoPanoptic)
        self.categories, self.new_id = mend_categories(content["categories"], self.changes)
        if labels is not None:
            self._only(labels)
        self.images = mend_images(content["images"], source.folder, self.changes)
        self.groups = by_image(content["annotations"], self.images, self.changes)
        self.png_names: dict[str, str] = {}
        if isinstance(source, CocoPanoptic):
            self.images = [entry for entry in self.images if self._has_png(entry, source.png_folder)]
        else:
            for entry in self.images:
                key = str(entry["id"])
                self.groups[key] = self._objects(self.groups[key], entry)
        self.format = "" if self.is_panoptic else box_format(self.images, self.groups)
        self.hashes: dict[str, str] = {}

    def _only(self, labels: LabelMap) -> None:
        """Leave out categories that the label map has neither as a class nor as void."""
        known = {*labels.names, *labels.void}
        for entry in self.categories:
            if entry["name"] not in known:
                self.changes.add("", "category dropped", f"'{entry['name']}' is not in the label map")
        self.categories = [entry for entry in self.categories if entry["name"] in known]
        kept = {entry["id"] for entry in self.categories}
        self.new_id = {old: new for old, new in self.new_id.items() if new in kept}

    def _objects(self, objects: list[Entry], image: Entry) -> list[Entry]:
        return mend_objects(objects, self.new_id, image["file_name"], self.changes)

    def _has_png(self, image: Entry, png_folder: Path) -> bool:
        """Take over the one panoptic annotation that has a PNG, if there is one."""
        key, name = str(image["id"]), image["file_name"]
        for entry in self.groups[key]:
            segments = entry.get("segments_info")
            try:
                found = inside(png_folder, entry.get("file_name")).is_file()
            except UserError:
                found = False
            if found and isinstance(segments, list):
                if len(self.groups[key]) > 1:
                    self.changes.add(name, "annotation dropped", "further panoptic annotations of the image")
                self.png_names[key] = entry["file_name"]
                plain = [
                    one | {"id": plain_number(one.get("id"))} for one in segments if isinstance(one, dict)
                ]
                self.groups[key] = self._objects(plain, image)
                return True
        self.changes.add(name, "image dropped", "it has no panoptic annotation with a PNG")
        return False

    def mend_picture(self, image: Entry) -> Mended:
        """Thread safe: touches what belongs to this picture alone."""
        key, split = str(image["id"]), self.changes.split
        path = inside(self.source.folder, image["file_name"])
        if not isinstance(self.source, CocoPanoptic):
            return mend_detection(image, self.groups[key], path, split, self.format)
        name = self.png_names[key]
        png = inside(self.source.png_folder, name)
        return mend_panoptic(image, self.groups[key], path, split, png, name, self.out / "panoptic")

    def mend_pictures(self, threads: int | None) -> None:
        """Open every picture once; what cannot be mended is left out."""
        kept = []
        with tqdm(
            total=len(self.images), desc=f"mending {self.changes.split}", unit="image", leave=False
        ) as bar:
            for mended in in_threads(self.mend_picture, self.images, threads):
                bar.update()
                self.changes.made += mended.changes.made
                if mended.keep:
                    kept.append(mended.image)
                    self.groups[str(mended.image["id"])] = mended.objects
                    self.hashes[str(mended.image["id"])] = mended.sha256
        self.images = kept

    def drop_those_in(self, other: _File) -> None:
        """Leave out pictures that another split holds as well."""
        elsewhere = {other.hashes[str(entry["id"])] for entry in other.images}
        kept = []
        for entry in self.images:
            if self.hashes[str(entry["id"])] in elsewhere:
                said = f"the same picture is in {other.changes.split}"
                self.changes.add(entry["file_name"], "image dropped", said)
            else:
                kept.append(entry)
        self.images = kept

    def add_categories_of(self, other: _File) -> None:
        """Take over classes that only another split lists, so that its objects have a class."""
        names = {entry["name"] for entry in self.categories}
        free = max((entry["id"] for entry in self.categories), default=0) + 1
        for entry in other.categories:
            if entry["name"] not in names:
                self.categories.append(entry | {"id": free})
                self.changes.add("", "category added", f"'{entry['name']}' of {other.changes.split}")
                free += 1

    def write(self) -> Split:
        """`annotations.json` (and the PNGs of dropped pictures taken away)."""
        annotations: list[Entry] = []
        for entry in self.images:
            key = str(entry["id"])
            if self.is_panoptic:
                one = {"image_id": entry["id"], "file_name": self.png_names[key]}
                annotations.append(one | {"segments_info": self.groups[key]})
            else:
                annotations += self.groups[key]
        if not self.is_panoptic:
            number_again(annotations, self.changes)
        kept = {"images": self.images, "annotations": annotations, "categories": self.categories}
        rest = {key: value for key, value in self.source.content.items() if key not in kept}
        file = write_json(self.out / "annotations.json", rest | kept, indent=None)
        panoptic = self.out / "panoptic"
        if self.is_panoptic:
            _tidy(panoptic, {self.png_names[str(entry["id"])] for entry in self.images})
        return Split(
            annotations=str(file),
            images=str(self.source.folder),
            panoptic=str(panoptic) if self.is_panoptic else None,
        )


def _tidy(folder: Path, names: set[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {inside(folder, name) for name in names}
    for file in folder.rglob("*"):
        if file.is_file() and file not in kept:
            file.unlink()


def _mend_files(
    target: Target, sources: dict[str, CocoFile], folder: Path, threads: int | None
) -> list[Change]:
    files = [_File(split, source, folder / split, target.labels) for split, source in sources.items()]
    for file in files:
        file.mend_pictures(threads)
    first, *others = files
    for other in others:
        first.drop_those_in(other)
        if target.labels is None:
            first.add_categories_of(other)
    for file in files:
        if not file.images:
            raise UserError(f"--fix: no image of {file.changes.split} can be used; see what the check says")
    written = {role: asdict(file.write()) for role, file in zip(ROLES, files, strict=False)}
    data = asdict(target.data) | written
    write_text(folder / DATA_FILE, write_yaml({"data": _said(data)}))
    return [change for file in files for change in file.changes.made]


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that name files and labels; the rest of a data section has defaults."""
    said = {role: {k: v for k, v in values[role].items() if v} for role in ROLES if values[role]}
    return said | ({"labels": values["labels"]} if values["labels"] else {})


def box_format(images: list[Entry], groups: dict[str, list[Entry]]) -> str:
    """ "shares" or "corners" where boxes only make sense as these; empty for COCO's own format."""
    sizes = {str(entry["id"]): (entry.get("height"), entry.get("width")) for entry in images}
    known = {key: (h, w) for key, (h, w) in sizes.items() if type(h) is int and type(w) is int}
    boxes = [(key, one["bbox"]) for key, group in groups.items() for one in group if is_box(one.get("bbox"))]
    if boxes and all(max(box[2:]) <= 1 for _, box in boxes):
        return SHARES
    sized = [(known[key], box) for key, box in boxes if key in known]
    if len(sized) < ENOUGH_TO_JUDGE:
        return ""
    outside = sum(is_beyond(box, size) for size, box in sized)
    ordered = all(box[0] < box[2] <= size[1] + 1 and box[1] < box[3] <= size[0] + 1 for size, box in sized)
    return CORNERS if ordered and outside > len(sized) / 2 else ""


# ---- saved data sets


def _bad_rows(source: SavedSplit, split: str, result: CheckResult) -> dict[int, str]:
    """Rows with an error, by position, each with one of its errors."""
    numbers = source.image_numbers(Report(source.name))
    faulty = result.faulty.get(split, {})
    bad = {at: faulty[number] for at, number in enumerate(numbers) if number in faulty}
    for code in ("row", "image-id"):
        for name in result.ledger.files(code, split):
            bad[int(name.removeprefix("row "))] = RULES[code].title
    return bad


def _mend_saved(target: Target, result: CheckResult, folder: Path) -> list[Change]:
    kept: dict[str, datasets.Dataset] = {}
    changes: list[Change] = []
    for split, opened in target.splits.items():
        source = opened()
        assert isinstance(source, SavedSplit)
        bad = _bad_rows(source, split, result)
        changes += [Change(split, f"row {at}", "row dropped", said) for at, said in sorted(bad.items())]
        kept[split] = source.dataset.select([at for at in range(len(source)) if at not in bad])
    datasets.DatasetDict(kept).save_to_disk(folder)
    if target.labels is not None:
        target.labels.save(folder)
    return changes
