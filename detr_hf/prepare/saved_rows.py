"""One row of a saved data set as a source picture, whichever way its columns are spelt and nested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.prepare.columns import Columns
from detr_hf.prepare.source import SourceImage, SourceObject


@dataclass(frozen=True)
class SavedRows:
    """Reads rows; needs nothing of the data set but where it keeps what.

    Args:
        columns: see :class:`~detr_hf.prepare.columns.Columns`.
        name: of the source, for messages.
        roots: folders that an image kept by path may lie in.
        numbers: of the classes that are told by name.
    """

    columns: Columns
    name: str
    roots: tuple[Path, ...]
    numbers: Mapping[str, int]

    def number_of(self, category: Any) -> Any:
        """The class id of a name that is known; anything else as it is."""
        return self.numbers.get(category, category) if isinstance(category, str) else category

    def objects(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The objects of a row under our names, whichever way round the lists and dicts are nested."""
        held = row[self.columns.objects] if self.columns.objects else row
        if isinstance(held, Mapping):
            spelt = {role: held[spelling] for role, spelling in self.columns.fields.items()}
            lists = {role: values for role, values in spelt.items() if values is not None}
            lengths = {role: len(values) for role, values in lists.items()}
            if len(set(lengths.values())) > 1:
                raise UserError(f"{self.name}: the lists of objects differ in length: {lengths}")
            return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
        return [
            {role: entry[spelling] for role, spelling in self.columns.fields.items()} for entry in held or []
        ]

    def image(self, row: Mapping[str, Any], number: int, position: int) -> SourceImage:
        """A row with undecoded pictures, as image ``number``.

        Raises:
            UserError: it holds no picture, one outside the data set, or lists that do not fit each other.
        """
        cell = row[self.columns.image]
        panoptic = self._content(row[self.columns.panoptic]) if self.columns.panoptic else None
        stored = Path((cell or {}).get("path") or f"row-{position}").name
        name = row.get("file_name") or row.get("filename") or stored
        width, height = row.get("width"), row.get("height")
        objects = [self._object(entry, at) for at, entry in enumerate(self.objects(row), start=1)]
        declared = (height, width) if width and height else None
        return SourceImage(self._content(cell), number, str(name), declared, objects, panoptic)

    def _object(self, entry: dict[str, Any], position: int) -> SourceObject:
        known = entry.get("id")
        number = known if isinstance(known, int) else position
        category = self.number_of(entry["category"])
        crowd = bool(entry.get("iscrowd"))
        return SourceObject(
            number, category, entry.get("bbox"), entry.get("area"), crowd, f"object {position}"
        )

    def _content(self, cell: dict[str, Any] | None) -> Path | bytes:
        """Bytes as stored, or a file; a row may not point outside the data set or at the network."""
        if cell and cell.get("bytes") is not None:
            return cell["bytes"]
        stored = (cell or {}).get("path")
        if not stored:
            raise UserError("it holds no picture")
        path = Path(stored)
        if not path.is_absolute() or not any(path.resolve().is_relative_to(root) for root in self.roots):
            raise UserError(
                f"its picture is kept as the path '{stored}', outside the data set; save it with the "
                "pictures inside"
            )
        return path
