"""The categories of a COCO file: one id and one name each, and what was wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sources.coco_values import Entry, Values, id_key, short


@dataclass
class Categories:
    """The classes of a file.

    Attributes:
        entries: with ``id`` (a whole number of 64 bits) and ``name``, each once, in the order of the file.
        names: of the classes, by the text of the ids that the file gives them.
        issues: what was changed or left out.
    """

    entries: list[Entry] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)


def read_categories(found: list[Entry], used: Collection[str], file: str, is_panoptic: bool) -> Categories:
    """Categories put in order.

    Args:
        found: the objects of the file's list ``categories``.
        used: texts of the ids that objects have.
        file: the annotation file, for issues.
        is_panoptic: whether ``isthing`` and ``color`` are expected.
    """
    made = Categories()
    given = {Values(entry, "", "").id() for entry in found}
    free = (number for number in count(1) if number not in given)
    for entry in found:
        if _is_root(entry, found, used):
            made.issues.append(Issue("category-root", f"category 0 '{entry.get('name')}'", file))
            continue
        values = Values(entry, f"category {short(entry.get('id'))} {short(entry.get('name'))}", file)
        for what in _add(made, values, free):
            made.issues.append(Issue("category-invalid", f"{values.where}: {what}", file))
        made.issues += values.issues
    for entry in made.entries if is_panoptic else ():
        for key in ("isthing", "color"):
            if entry.get(key) is None:
                where = f"category {entry['id']} '{entry['name']}'"
                made.issues.append(Issue(f"{key}-missing", where, file))
    return made


def _is_root(entry: Entry, found: list[Entry], used: Collection[str]) -> bool:
    """Roboflow's exports begin with a category 0 that is the group of all others, and has no object."""
    name = entry.get("name")
    if id_key(entry.get("id")) != "0" or "0" in used or not isinstance(name, str):
        return False
    return any(other is not entry and other.get("supercategory") == name for other in found)


def _add(made: Categories, values: Values, free: Iterator[int]) -> Iterator[str]:
    """Add one category; yields what is wrong with it."""
    entry, key, name = values.entry, id_key(values.entry.get("id")), values.entry.get("name")
    if key is None:
        yield "its id is no whole number; it is left out"
        return
    if type(name) is int:
        values.note("name")
        name = str(name)
    if not isinstance(name, str) or not name.strip():
        yield f"its name is no text; it is 'category {key}' now"
        name = f"category {key}"
    if key in made.names:
        same = made.names[key] == name
        yield "it stands twice" if same else f"its id is that of '{made.names[key]}'; it is left out"
        return
    made.names[key] = name
    if any(other["name"] == name for other in made.entries):
        yield f"its name stands twice; its objects are '{name}', too"
        return
    number = values.id()
    if number is None:
        number = next(free)
        yield f"its id is no whole number of 64 bits; it is {number} now"
    new = {**entry, "id": number, "name": name}
    thing, color = new.pop("isthing", None), new.pop("color", None)
    if isinstance(thing, bool | int | str) and str(thing) in ("0", "1", "False", "True"):
        new["isthing"] = int(str(thing) in ("1", "True"))
        if isinstance(thing, str):
            values.note("isthing")
    elif thing is not None:
        yield f"isthing is {short(thing)}, neither 0 nor 1"
    if isinstance(color, list) and len(color) == 3 and all(map(_is_byte, color)):
        new["color"] = color
    elif color is not None:
        yield f"color is {short(color)}, not three numbers from 0 to 255"
    made.entries.append(new)


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255
