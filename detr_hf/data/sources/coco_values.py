"""Values of a COCO file as the exporters of the world write them: numbers as text, ids of any kind, flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64, is_number
from detr_hf.data.sample import Annotation

Entry = dict[str, Any]

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE | re.ASCII)
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
_ANNOTATION_KEYS = frozenset(
    {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "score"}
)


def spelled_number(text: str) -> int | float | None:
    """The number that a text spells, whole where it can be; None where it spells none."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def id_key(value: Any) -> str | None:
    """What ids are compared by, as some files have 12 in one place and "12" or 12.0 in another; None for what
    is no id.
    """
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if type(value) is int else None


def short(value: Any) -> str:
    """A foreign value for a message."""
    return repr(value)[:60]


@dataclass
class Values:
    """The values of one entry; those of an odd type are converted where they spell a number, and told.

    Args:
        entry: of the JSON.
        where: the entry, for issues: "annotation 12".
        file: of its image, for issues.
    """

    entry: Mapping[str, Any]
    where: str
    file: str
    issues: list[Issue] = field(default_factory=list)

    def note(self, key: str) -> None:
        said = f"{key} is {short(self.entry.get(key))}"
        self.issues.append(Issue("odd-type", f"{self.where}: {said}", self.file))

    def number(self, key: str) -> Any:
        """A number; what is none is given as it is, for `repair` to judge."""
        value = self.entry.get(key)
        if isinstance(value, str) and (number := spelled_number(value)) is not None:
            self.note(key)
            return number
        return value

    def id(self, key: str = "id") -> int | None:
        """A whole number of 64 bits; None where there is none."""
        value = self.entry.get(key)
        whole = spelled_number(value) if isinstance(value, str) else value
        if isinstance(whole, float) and whole.is_integer():
            whole = int(whole)
        if not is_int64(whole):
            return None
        if type(value) is not int:
            self.note(key)
        return whole

    def flag(self, key: str) -> bool:
        """0 or 1; anything else is 0, and told."""
        value = self.entry.get(key)
        if value is None or isinstance(value, bool) or (type(value) is int and value in (0, 1)):
            return bool(value)
        self.note(key)
        return _FLAGS.get(str(value).strip().lower() if isinstance(value, str | float) else "", False)

    def box(self) -> Any:
        """``bbox``; a list with text among its numbers is converted where every text spells one."""
        value = self.entry.get("bbox")
        if not isinstance(value, list) or not any(isinstance(part, str) for part in value):
            return value
        numbers = [spelled_number(part) if isinstance(part, str) else part for part in value]
        if any(part is None for part in numbers):
            return value
        self.note("bbox")
        return numbers

    def size_hw(self) -> tuple[Any, Any]:
        """Height and width; some tools write 0 or -1 for what they do not know."""
        return self.number("height"), self.number("width")

    def category(self, names: Mapping[str, str]) -> str | None:
        """The class's name, by the text of its id; None where it is not listed."""
        value = self.entry.get("category_id")
        name = names.get(id_key(value) or "")
        if name is not None and type(value) is not int and spelled_number(str(value)) is not None:
            self.note("category_id")
        return name

    def extra(self, known: frozenset[str]) -> dict[str, Any]:
        """All that has no place of its own in a sample."""
        return {key: value for key, value in self.entry.items() if key not in known}


def annotation_of(values: Values, names: Mapping[str, str], number: Any) -> Annotation:
    """An entry or segment, unchecked but for the types of its values, which go into its issues.

    ``names`` are those of the classes by the text of their ids, ``number`` is its id where that is its own.
    """
    entry = values.entry
    score = entry.get("score")
    return Annotation(
        id=number,
        category=values.category(names),
        bbox=values.box(),
        segmentation=entry.get("segmentation"),
        area=values.number("area"),
        iscrowd=values.flag("iscrowd"),
        where=values.where,
        category_id=entry.get("category_id"),
        score=float(score) if is_number(score) else None,
        extra=values.extra(_ANNOTATION_KEYS),
    )
