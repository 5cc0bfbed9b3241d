"""The file that says which value or color of a class PNG is which class, in the spellings that are in use."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import parse_json, read_bytes

MAX_TABLE_BYTES = 4_000_000
VOID_NAMES = frozenset({"void", "unlabeled", "unlabelled", "ignore", "ignored", "background"})
FILE_NAMES = (
    *("class_dict.csv", "classes.csv", "_classes.csv", "labels.csv", "label_colors.txt", "labelmap.txt"),
    *("objectinfo150.txt", "classes.txt", "labels.txt", "classes.json", "labels.json", "id2label.json"),
)

_NAME_COLUMNS = ("name", "class", "label", "class_name")
_VALUE_COLUMNS = ("pixel value", "value", "id", "index")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassRow:
    """One class: its value in gray and palette PNGs, its color in RGB ones, whichever is known."""

    name: str
    value: int | None = None
    color: Color | None = None
    is_void: bool = False


@dataclass(frozen=True)
class ClassTable:
    """The classes of a set of class PNGs; one name may stand for several values.

    Attributes:
        rows: in the order of the file.
        things: names of the classes whose objects are told apart.
    """

    rows: tuple[ClassRow, ...]
    things: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The classes but for void, each once."""
        return list(dict.fromkeys(row.name for row in self.rows if not row.is_void))

    def categories(self) -> list[dict[str, Any]]:
        """As in COCO panoptic, with ids from 1."""
        colors = {row.name: list(row.color) for row in reversed(self.rows) if row.color is not None}
        return [
            {"id": id_, "name": name, "isthing": int(name in self.things)}
            | ({"color": colors[name]} if name in colors else {})
            for id_, name in enumerate(self.names, start=1)
        ]


def find_table(names: Iterable[str]) -> str | None:
    """The file of classes among file names: the one nearest to the root, then the first of ``FILE_NAMES``."""
    found = [name for name in names if PurePosixPath(name).name.lower() in FILE_NAMES]
    order = {name: position for position, name in enumerate(FILE_NAMES)}
    return min(
        found, key=lambda one: (one.count("/"), order[PurePosixPath(one).name.lower()], one), default=None
    )


def read_table(path: Path, name: str) -> ClassTable:
    """Raises UserError: the file cannot be read, or lists no class."""
    text = read_bytes(path, MAX_TABLE_BYTES, "file of classes", name).decode("utf-8-sig", "replace")
    kind = path.name.lower()
    if kind.endswith(".json"):
        rows = _of_json(parse_json(text, name))
    elif kind == "labelmap.txt":
        rows = _of_labelmap(text)
    elif kind in ("label_colors.txt", "objectinfo150.txt"):
        rows = _of_colors(text) if kind == "label_colors.txt" else _of_ade(text)
    elif kind.endswith(".csv"):
        rows = _of_csv(text)
    else:
        lines = [line.strip() for line in text.splitlines()]
        rows = [ClassRow(line, value) for value, line in enumerate(lines) if line]
    rows = [ClassRow(row.name, row.value, row.color, row.name.lower() in VOID_NAMES) for row in rows]
    if all(row.is_void for row in rows):
        raise UserError(f"{name}: lists no class; give one a line, as name,r,g,b or by its value")
    return ClassTable(tuple(rows))


def _of_json(content: Any) -> list[ClassRow]:
    """{"1": "road"}, {"road": 1}, or a list of names."""
    if isinstance(content, list):
        return [ClassRow(one, value) for value, one in enumerate(content) if isinstance(one, str)]
    rows = []
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, str) and (number := _whole(key)) is not None:
            rows.append(ClassRow(value, number))
        elif type(value) is int and value >= 0:
            rows.append(ClassRow(key, value))
    return rows


def _of_labelmap(text: str) -> list[ClassRow]:
    """CVAT's and datumaro's: name:r,g,b:parts:actions."""
    rows = []
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() and not line.lstrip().startswith("#"):
            rows.append(ClassRow(name.strip(), None, _color(rest.partition(":")[0].split(","))))
    # The position is the value in palette PNGs.
    return [ClassRow(row.name, value, row.color) for value, row in enumerate(rows)]


def _of_colors(text: str) -> list[ClassRow]:
    """CamVid's: r g b name."""
    matches = (re.match(r"\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", line) for line in text.splitlines())
    found = [match for match in matches if match]
    return [
        ClassRow(match[4].strip(), value, _color([match[1], match[2], match[3]]))
        for value, match in enumerate(found)
    ]


def _of_ade(text: str) -> list[ClassRow]:
    """ADE20K's: index, ratio, train, val, name with synonyms; the first of them is the class."""
    rows = []
    for line in text.splitlines():
        words = line.split("\t")
        if (value := _whole(words[0])) is not None and len(words) > 1:
            rows.append(ClassRow(re.split(r"[,;]", words[-1])[0].strip(), value))
    return rows


def _of_csv(text: str) -> list[ClassRow]:
    """Columns in any order, by their header: name, r, g, b, and the value; without a header name,r,g,b."""
    lines = [[word.strip() for word in line] for line in csv.reader(text.splitlines()) if line]
    if not lines:
        return []
    head = [word.lower() for word in lines[0]]
    column = {word: position for position, word in enumerate(head)}
    name_at = next((column[word] for word in _NAME_COLUMNS if word in column), None)
    has_head = name_at is not None
    value_at = next((column[word] for word in _VALUE_COLUMNS if word in column), None)
    color_at = [column.get(word[0], column.get(word)) for word in ("red", "green", "blue")]
    if name_at is None and _whole(lines[0][0]) is not None and len(head) == 2:  # value,name
        name_at, value_at, color_at = 1, 0, [None, None, None]
    elif name_at is None:
        name_at, color_at = 0, [1, 2, 3]
    rows = []
    for position, line in enumerate(lines[1:] if has_head else lines):
        at = [line[place] if place is not None and place < len(line) else "" for place in color_at]
        value = _whole(line[value_at]) if value_at is not None and value_at < len(line) else position
        if name_at < len(line) and line[name_at]:
            rows.append(ClassRow(line[name_at], value, _color(at)))
    return rows


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _color(words: list[str]) -> Color | None:
    values = [value for word in words if (value := _whole(word)) is not None and value < 256]
    return (values[0], values[1], values[2]) if len(values) == len(words) == 3 else None


_CITYSCAPES = """
0 unlabeled|1 ego vehicle|2 rectification border|3 out of roi|4 static|5 dynamic|6 ground
7 road 128,64,128|8 sidewalk 244,35,232|9 parking 250,170,160|10 rail track 230,150,140|11 building 70,70,70
12 wall 102,102,156|13 fence 190,153,153|14 guard rail 180,165,180|15 bridge 150,100,100|16 tunnel 150,120,90
17 pole 153,153,153|18 polegroup 153,153,153|19 traffic light 250,170,30|20 traffic sign 220,220,0
21 vegetation 107,142,35|22 terrain 152,251,152|23 sky 70,130,180|24 person 220,20,60|25 rider 255,0,0
26 car 0,0,142|27 truck 0,0,70|28 bus 0,60,100|29 caravan 0,0,90|30 trailer 0,0,110|31 train 0,80,100
32 motorcycle 0,0,230|33 bicycle 119,11,32
"""
FIRST_CITYSCAPES_THING = 24


def cityscapes_table() -> ClassTable:
    """Ids of Cityscapes (https://www.cityscapes-dataset.com/dataset-overview/); void ones have no color."""
    rows = []
    for words in re.split(r"[|\n]", _CITYSCAPES.strip()):
        match = re.fullmatch(r"(\d+) (\D+?)(?: ([\d,]+))?", words)
        assert match is not None
        color = _color(match[3].split(",")) if match[3] else None
        rows.append(ClassRow(match[2], int(match[1]), color, color is None))
    return ClassTable(tuple(rows))
