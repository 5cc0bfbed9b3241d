"""One row of a table as a `Sample`, whichever way its columns are spelled and nested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.columns import FILE_NAMES, Columns, first_of
from detr_hf.errors import UserError
from detr_hf.foreign_files import LONGEST_NAME, relative_name

_SUFFIXES = {  # how files begin
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"GIF8": ".gif",
    b"BM": ".bmp",
}


@dataclass(frozen=True)
class RowReader:
    """Reads rows; needs nothing of the table but where it keeps what. Picklable.

    Args:
        columns: see :class:`~detr_hf.data.sources.columns.Columns`.
        names: of the classes that are written as numbers.
        roots: folders that an image kept by path may lie in, all links followed.
    """

    columns: Columns
    names: Mapping[int, str]
    roots: tuple[Path, ...] = ()

    def sample(self, row: Mapping[str, Any], image_id: int, position: int) -> Sample:
        """A row with undecoded images; what is wrong with it is in ``issues``."""
        name = self._file_name(row, position)
        issues: list[Issue] = []
        image = id_map = None
        objects: list[Annotation] = []
        try:
            image = self._content(row.get(self.columns.image))
            objects = self.objects(row, name, issues)
        except UserError as error:
            issues.append(Issue("row", f"row {position}: {error}", name))
        if self.columns.panoptic and image is not None:
            try:
                id_map = self._content(row.get(self.columns.panoptic))
            except UserError as error:
                issues.append(Issue("png-missing", f"row {position}: {error}", name))
        width, height = row.get("width"), row.get("height")
        declared_hw = None if width is None or height is None else (height, width)
        return Sample(image, name, image_id, objects, declared_hw, id_map, issues=tuple(issues))

    def objects(self, row: Mapping[str, Any], name: str, issues: list[Issue]) -> list[Annotation]:
        """The objects of a row; what was read as something else is added to ``issues``.

        Raises:
            UserError: its lists do not fit each other, or are none.
        """
        return [self._object(entry, at, name, issues) for at, entry in enumerate(self.entries(row), start=1)]

    def entries(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The values of each object under our names, whichever way lists and dicts are nested.

        Raises:
            UserError: as ``objects``.
        """
        held = row.get(self.columns.objects) if self.columns.objects else row
        if held is None:
            return []
        if isinstance(held, Mapping):
            lists = self._renamed(held)
            if "bbox" in lists and not _is_list_of_lists(lists["bbox"]):  # one object a row
                lists = {role: [value] for role, value in lists.items()}
            if wrong := [role for role, values in lists.items() if not isinstance(values, list)]:
                raise UserError(f"'{self.columns.fields[wrong[0]]}' of its objects is no list")
            lengths = {role: len(values) for role, values in lists.items()}
            if len(set(lengths.values())) > 1:
                raise UserError(f"the lists of its objects differ in length: {lengths}")
            return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
        if not isinstance(held, list) or not all(isinstance(entry, Mapping) for entry in held):
            raise UserError(f"its '{self.columns.objects}' are neither lists nor objects")
        return [self._renamed(entry) for entry in held]

    def category(self, value: Any) -> str | None:
        """The class that a number or text means; None where it is none that is known."""
        if isinstance(value, str):
            return value
        return self.names.get(value) if type(value) is int else None

    def _renamed(self, held: Mapping[str, Any]) -> dict[str, Any]:
        found = {role: held.get(spelling) for role, spelling in self.columns.fields.items()}
        return {role: value for role, value in found.items() if value is not None}

    def _object(self, entry: Mapping[str, Any], position: int, name: str, issues: list[Issue]) -> Annotation:
        known, category = entry.get("id"), entry.get("category")
        where, crowd, shape = f"object {position}", entry.get("iscrowd"), entry.get("segmentation")
        if isinstance(crowd, str):  # "0" is true to Python
            issues.append(Issue("odd-type", f"{where}: iscrowd '{crowd[:20]}'", name))
            crowd = crowd.strip().lower() in ("1", "true")
        if isinstance(shape, list) and shape and not _is_list_of_lists(shape):
            shape = [shape]  # a polygon alone
        return Annotation(
            id=known if type(known) is int else position,
            category=self.category(category),
            bbox=entry.get("bbox"),
            segmentation=shape or None,
            area=entry.get("area"),
            iscrowd=bool(crowd),
            where=where,
            category_id=category,
        )

    def _file_name(self, row: Mapping[str, Any], position: int) -> str:
        """The name within the data set that a row says, or one by its position."""
        cell = row.get(self.columns.image)
        column = first_of(FILE_NAMES, row)
        stored = cell.get("path") if isinstance(cell, Mapping) else None
        for said in (row[column] if column else None, Path(stored).name if stored else None):
            try:
                return relative_name(Path(), said).as_posix()
            except UserError:  # none, or one that leads elsewhere
                continue
        content = cell.get("bytes") if isinstance(cell, Mapping) else None
        start = bytes(content[:8]) if content else b""
        suffix = next((suffix for mark, suffix in _SUFFIXES.items() if start.startswith(mark)), "")
        return f"row-{position}{suffix}"

    def _content(self, cell: Any) -> Path | bytes:
        """Bytes as stored, or a file; a row may not point outside the data set or at the network.

        Raises:
            UserError: it holds neither, or a path outside.
        """
        if isinstance(cell, Mapping) and cell.get("bytes") is not None:
            return cell["bytes"]
        stored = cell.get("path") if isinstance(cell, Mapping) else None
        if not stored:
            raise UserError("it holds no image")
        if not self._is_inside(Path(stored)):
            raise UserError(
                f"its image is kept as the path '{stored}', outside the data set; save it with the images "
                "inside"
            )
        return Path(stored)

    def _is_inside(self, path: Path) -> bool:
        try:
            return path.is_absolute() and any(path.resolve().is_relative_to(root) for root in self.roots)
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
            return False


def renamed(name: str, seen: set[str]) -> str:
    """``name``, or one like it that no earlier image has; it is added to ``seen``."""
    path, number, made = PurePosixPath(name), 1, name
    while made in seen:
        number += 1
        stem = path.stem[: LONGEST_NAME // 4]
        made = path.with_name(f"{stem}-{number}{path.suffix}").as_posix()
    seen.add(made)
    return made


def _is_list_of_lists(values: Any) -> bool:
    """Whether it may be a list of boxes: each is a list or missing."""
    return isinstance(values, list) and all(value is None or isinstance(value, list) for value in values)
