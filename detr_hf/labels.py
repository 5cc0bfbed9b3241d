"""The one label map: which classes there are, in which order, and how they look.

Class ids run from 0 to C-1, things first and stuff after. The ids of a source (a COCO file) appear here, as
`source_id`, and in `prepare/`; nowhere else.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.foreign_files import read_json

LABEL_MAP_FILE = "label_map.json"
CONSTRUCTION = "construction"
PRESETS = Path(__file__).parent / "presets"

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Category:
    """One class. `id` is its place in the label map, `source_id` its id in the file that it came from."""

    id: int
    name: str
    is_thing: bool
    color: Color  # RGB, 0 to 255
    source_id: int


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The classes of a data set or model, in the order of their ids.

    Two maps are equal when names and thing/stuff agree in order: colors and source ids change no model.
    `void` names the categories of the source that are no class: their pixels are void, their boxes left out.
    """

    categories: tuple[Category, ...]
    void: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.categories:
            raise UserError("a label map needs at least one class")
        _refuse_doubles("name", [category.name for category in self.categories])
        _refuse_doubles("id", [category.source_id for category in self.categories])
        kinds = [category.is_thing for category in self.categories]
        if kinds != sorted(kinds, reverse=True):
            raise UserError("a label map lists its things first and its stuff after")
        if both := set(self.void) & set(self.names):
            raise UserError(f"{', '.join(sorted(both))}: void and class at the same time; choose one")
        assert [category.id for category in self.categories] == list(range(len(self.categories)))

    # -- making one

    @classmethod
    def from_coco(cls, categories: Iterable[Mapping[str, Any]], void: Sequence[str] = ()) -> LabelMap:
        """The `categories` of a COCO file: things first, then stuff, each in the order of their ids.

        A category without `isthing` is a thing (detection files have none); one without `color` gets a color
        that depends on its id alone. Names in `void` become no class. Raises UserError for a category without
        id or name, for doubled ids or names, and for a `void` name that is no category.
        """
        entries = [_checked(entry) for entry in categories]
        _refuse_doubles("name", [entry["name"] for entry in entries])
        if unknown := [name for name in void if name not in {entry["name"] for entry in entries}]:
            raise UserError(f"void names {', '.join(unknown)}, but the data has no such category")
        kept = [entry for entry in entries if entry["name"] not in void]
        ordered = sorted(kept, key=lambda entry: (not entry["is_thing"], entry["source_id"]))
        return cls(tuple(Category(id=index, **entry) for index, entry in enumerate(ordered)), tuple(void))

    @classmethod
    def from_names(cls, names: Sequence[str], stuff: Sequence[str] = ()) -> LabelMap:
        """Things by name, then stuff by name; source ids count from 1."""
        entries = [{"name": name, "isthing": 1} for name in names] + [
            {"name": name, "isthing": 0} for name in stuff
        ]
        return cls.from_coco({"id": index, **entry} for index, entry in enumerate(entries, start=1))

    @classmethod
    def load(cls, path: str | Path) -> LabelMap:
        """Read `label_map.json`, given as a file or as the folder that holds it.

        Classes keep the order of the file. Raises UserError when it is missing or is no label map.
        """
        file = Path(path) / LABEL_MAP_FILE if Path(path).is_dir() else Path(path)
        values = read_json(file, "label map")
        try:
            entries = [_checked(entry) for entry in values["categories"]]
            categories = tuple(Category(id=index, **entry) for index, entry in enumerate(entries))
            return cls(categories, tuple(str(name) for name in values.get("void", ())))
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: is no label map ({type(error).__name__}: {error})") from None

    def save(self, folder: str | Path) -> Path:
        """Write `label_map.json` into `folder`, which is made when missing; returns the file."""
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in self.to_coco_categories())
        text = f'{{\n "categories": [\n{lines}\n ],\n "void": {json.dumps(list(self.void))}\n}}\n'
        return write_text(Path(folder) / LABEL_MAP_FILE, text)

    def to_coco_categories(self, contiguous: bool = False) -> list[dict[str, Any]]:
        """COCO's `categories`, under the ids of the source, or under the class ids 0..C-1 (`contiguous`)."""
        return [
            {
                "id": category.id if contiguous else category.source_id,
                "name": category.name,
                "supercategory": "",
                "isthing": int(category.is_thing),
                "color": list(category.color),
            }
            for category in self.categories
        ]

    def restricted_to(self, names: Collection[str]) -> LabelMap:
        """The same without the classes that are not in ``names``; the source ids stay, with gaps."""
        kept = [category for category in self.categories if category.name in names]
        numbered = tuple(replace(category, id=index) for index, category in enumerate(kept))
        return LabelMap(numbered, self.void)

    # -- asking it

    @property
    def num_classes(self) -> int:
        return len(self.categories)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @cached_property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @cached_property
    def label2id(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def thing_ids(self) -> tuple[int, ...]:
        return tuple(category.id for category in self.categories if category.is_thing)

    @cached_property
    def stuff_ids(self) -> tuple[int, ...]:
        return tuple(category.id for category in self.categories if not category.is_thing)

    @cached_property
    def source_to_class(self) -> dict[int, int]:
        return {category.source_id: category.id for category in self.categories}

    def is_thing(self, class_id: int) -> bool:
        return self.categories[class_id].is_thing

    def color(self, class_id: int) -> Color:
        return self.categories[class_id].color

    # -- comparing

    def _key(self) -> tuple[tuple[str, bool], ...]:
        return tuple((category.name, category.is_thing) for category in self.categories)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, LabelMap) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def difference(self, other: LabelMap) -> str:
        """What `other` has otherwise, in one line for a message; empty when the two are equal."""
        if self == other:
            return ""
        parts = []
        if lacking := [name for name in self.names if name not in other.label2id]:
            parts.append(f"lacks {_listed(lacking)}")
        if added := [name for name in other.names if name not in self.label2id]:
            parts.append(f"has {_listed(added)} besides")
        shared = [name for name in self.names if name in other.label2id]
        if turned := [name for name in shared if self.kind(name) != other.kind(name)]:
            parts.append(
                "; ".join(f"calls {name} {other.kind(name)}, not {self.kind(name)}" for name in turned)
            )
        if not parts:
            moved = next(name for name in shared if self.label2id[name] != other.label2id[name])
            parts.append(
                f"has another order ({moved} is {other.label2id[moved]}, not {self.label2id[moved]})"
            )
        return "; ".join(parts)

    def kind(self, name: str) -> str:
        """ "thing" or "stuff"."""
        return "thing" if self.is_thing(self.label2id[name]) else "stuff"


def construction_labels() -> LabelMap:
    """The construction preset: 48 things, 15 stuff classes; `thing` (COCO's own things) is void."""
    return LabelMap.load(PRESETS / "construction.json")


def load_labels(setting: str) -> LabelMap:
    """The label map that a recipe's `data.labels` names: a preset, or the path of a label_map.json."""
    return construction_labels() if setting == CONSTRUCTION else LabelMap.load(setting)


def _construction() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((PRESETS / "construction.json").read_text(encoding="utf-8"))
    return values


def _checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One COCO category with its fields checked, ready for `Category` but for the class id."""
    if not isinstance(entry, Mapping):
        raise UserError(f"category {entry!r}: expected an object with id and name")
    source_id, name, is_thing = entry.get("id"), entry.get("name"), entry.get("isthing", 1)
    if not isinstance(source_id, int) or isinstance(source_id, bool):
        raise UserError(f"category {dict(entry)}: `id` must be a whole number")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"category {source_id}: `name` must be text")
    if is_thing not in (0, 1):
        raise UserError(f"category {source_id} ({name}): `isthing` must be 0 or 1, got {is_thing!r}")
    color = _color(entry.get("color"), source_id, name)
    return {"name": name, "is_thing": bool(is_thing), "color": color, "source_id": source_id}


def _color(given: Any, source_id: int, name: str) -> Color:
    """The given color, checked; else one from the id, with hues of neighboring ids a golden angle apart."""
    if given is None:
        hue = source_id * 0.618033988749895 % 1.0
        value = (0.95, 0.75, 0.6)[source_id % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, value))
        return red, green, blue
    levels = list(given) if isinstance(given, list | tuple) else []
    if len(levels) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in levels):
        raise UserError(
            f"category {source_id} ({name}): `color` must be three numbers from 0 to 255, got {given!r}"
        )
    return levels[0], levels[1], levels[2]


def _refuse_doubles(what: str, values: Sequence[str | int]) -> None:
    if doubled := sorted({str(value) for value in values if values.count(value) > 1}):
        raise UserError(f"two categories share the {what} {', '.join(doubled)}; every {what} must be unique")


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


COCO_STUFF_TO_CONSTRUCTION: dict[str, str] = {
    name: group for group, names in _construction()["coco_stuff"].items() for name in names
}
"""Names of COCO-stuff and of COCO-panoptic stuff -> the 15 stuff classes of the construction preset."""
