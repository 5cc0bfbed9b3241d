"""The ids of images and classes as a given COCO JSON has them, for results that are scored against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.sources.base import MAX_JSON_BYTES
from detr_hf.errors import UserError, quantity
from detr_hf.foreign_files import parse_json, read_bytes
from detr_hf.labels import LabelMap

Entry = Mapping[str, Any]
SHOWN = 5


@dataclass(frozen=True)
class GivenIds:
    """What a COCO JSON lists; see ``read_given_ids``.

    Attributes:
        file: the JSON.
        images: its entries, each with an ``id`` and a ``file_name`` of its own.
        categories: its entries, each with an ``id`` and a ``name`` of its own.
    """

    file: Path
    images: list[Entry]
    categories: list[Entry]

    def match(self, names: Sequence[str]) -> tuple[dict[str, Entry], int]:
        """The entry of each image by its name among ``names``, and how many entries are of no such image.

        A name may be below other folders than here: the last parts of its path decide where they fit one
        image alone.

        Raises:
            UserError: two entries are of one image, an entry fits several, or none fits any.
        """
        files = ImageFiles(Path(), members=names)
        found: dict[str, Entry] = {}
        for entry in self.images:
            name, issue = files.find(entry["file_name"])
            if issue is not None and issue.code == "image-ambiguous":
                raise UserError(
                    f"{self.file}: image {entry['id']}: {issue.text}; name images by their folders"
                )
            if name is not None and found.setdefault(name, entry) is not entry:
                ids = f"{found[name]['id']} and {entry['id']}"
                raise UserError(f"{self.file}: images {ids} are both {name}; each needs a name of its own")
        if not found:
            shown = ", ".join(names[:SHOWN])
            raise UserError(f"{self.file} lists none of the {quantity(len(names), 'image')} ({shown})")
        return found, len(self.images) - len(found)

    def category_ids(self, labels: LabelMap) -> dict[int, Any]:
        """Class id of the model -> id of the class of that name; classes that are not listed have none.

        Raises:
            UserError: no class of the model is listed.
        """
        by_name = {entry["name"]: entry["id"] for entry in self.categories}
        found = {one.id: by_name[one.name] for one in labels.categories if one.name in by_name}
        if not found:
            theirs, ours = (", ".join(list(names)[:SHOWN]) for names in (by_name, labels.names))
            raise UserError(f"{self.file} has none of the model's classes: it has {theirs}; the model {ours}")
        return found


def read_given_ids(file: Path) -> GivenIds:
    """Read the lists ``images`` and ``categories`` of a COCO JSON.

    Raises:
        UserError: it is none, or ids or names are missing or doubled.
    """
    content = parse_json(read_bytes(file, MAX_JSON_BYTES, "COCO JSON"), str(file), any_number=True)
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "categories")]
    for key, name_key, entries in zip(("images", "categories"), ("file_name", "name"), lists, strict=True):
        if not isinstance(entries, list) or not entries:
            raise UserError(f"{file} has no list `{key}`; give a COCO JSON with images and categories")
        used: set[tuple[str, Any]] = set()
        for at, entry in enumerate(entries):
            number, name = (entry.get(one) if isinstance(entry, dict) else None for one in ("id", name_key))
            if not isinstance(number, int | str) or not isinstance(name, str):
                raise UserError(f"{file}: {key}[{at}] has no `id` or no `{name_key}`; correct it")
            for unique in (("id", number), (name_key, name)):
                if unique in used:
                    raise UserError(
                        f"{file}: {key}[{at}]: {unique[0]} {unique[1]!r} is used twice; correct it"
                    )
                used.add(unique)
    return GivenIds(file, lists[0] or [], lists[1] or [])
