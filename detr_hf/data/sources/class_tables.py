"""The file that says which value or color of a class PNG is which class, in the spellings that are in use."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import parse_json, read_bytes

MAX_TABLE_BYTES = 4_000_000
VOID_NAMES = frozenset(
    {"void", "unlabeled", "unlabelled", "ignore", "ignored", "background", "_background_", "__ignore__"}
)
FILE_NAMES = (
    *("class_dict.csv", "classes.csv", "_classes.csv", "labels.csv", "label_colors.txt", "labelmap.txt"),
    *("classes.txt", "labels.txt", "classes.json", "labels.json", "id2label.json"),
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
    """The classes of a set of class PNGs; one name may stand for several values."""

    rows: tuple[ClassRow, ...]  # in the order of the file
    things: frozenset[str] = frozenset()  # names of the classes whose objects are told apart

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
    try:
        if kind.endswith(".json"):
            rows = list(_of_json(parse_json(text, name)))
        elif kind.endswith(".csv"):
            rows = list(_of_csv(text))
        else:
            readers = {"labelmap.txt": _of_labelmap, "label_colors.txt": _of_colors}
            rows = list(readers.get(kind, _of_lines)(text))
    except csv.Error as error:  # a word longer than csv takes
        raise UserError(f"{name}: is no CSV file ({error})") from None
    rows = [replace(row, is_void=row.name.lower() in VOID_NAMES) for row in rows]
    if all(row.is_void for row in rows):
        raise UserError(f"{name}: lists no class; give one a line, as name,r,g,b or by its value")
    return ClassTable(tuple(rows))


def _of_json(content: Any) -> Iterable[ClassRow]:
    """{"1": "road"}, {"road": 1}, or a list of names."""
    if isinstance(content, list):
        content = {str(value): name for value, name in enumerate(content)}
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, str) and (number := _whole(key)) is not None:
            yield ClassRow(value, number)
        elif type(value) is int and value >= 0:
            yield ClassRow(key, value)


def _of_lines(text: str) -> Iterator[ClassRow]:
    """A name a line, the first for value 0; labelme's ``__ignore__`` before it is number -1."""
    lines = [line.strip() for line in text.splitlines()]
    first = 1 if lines[:1] == ["__ignore__"] else 0
    yield from (ClassRow(line, value) for value, line in enumerate(lines[first:]) if line)


def _of_labelmap(text: str) -> Iterator[ClassRow]:
    """CVAT's and datumaro's: name:r,g,b:parts:actions; the position is the value in palette PNGs."""
    lines = (line.split(":") for line in text.splitlines() if not line.lstrip().startswith("#"))
    for value, words in enumerate(words for words in lines if words[0].strip()):
        yield ClassRow(words[0].strip(), value, _color(words[1].split(",")) if words[1:] else None)


def _of_colors(text: str) -> Iterator[ClassRow]:
    """CamVid's, and datumaro's beside Cityscapes' folders: r g b name."""
    for value, match in enumerate(re.finditer(r"(?m)^\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", text)):
        yield ClassRow(match[4].strip(), value, _color(match.groups()[:3]))


def _of_csv(text: str) -> Iterator[ClassRow]:
    """Columns in any order, by their header: name, r, g, b, and the value; without a header name,r,g,b."""
    lines = [[word.strip() for word in line] for line in csv.reader(text.splitlines()) if line]
    column = {word.lower(): position for position, word in enumerate(lines[0] if lines else [])}
    name_at = next((column[word] for word in _NAME_COLUMNS if word in column), None)
    value_at = next((column[word] for word in _VALUE_COLUMNS if word in column), None)
    color_at = [column.get(word[0], column.get(word, -1)) for word in ("red", "green", "blue")]
    if name_at is not None:
        lines = lines[1:]
    else:
        name_at, color_at = 0, [1, 2, 3]
    for position, line in enumerate(lines):
        cells = dict(enumerate(line))
        value = position if value_at is None else _whole(cells.get(value_at, ""))
        if cells.get(name_at):
            yield ClassRow(cells[name_at], value, _color([cells.get(at, "") for at in color_at]))


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _color(words: Iterable[str | Any]) -> Color | None:
    values = [_whole(word) for word in words]
    if len(values) != 3 or not all(value is not None and value < 256 for value in values):
        return None
    return (values[0] or 0, values[1] or 0, values[2] or 0)


_CITYSCAPES = """
0 unlabeled|1 ego vehicle|2 rectification border|3 out of roi|4 static|5 dynamic|6 ground
7 road 128,64,128|8 sidewalk 244,35,232|9 parking 250,170,160|10 rail track 230,150,140|11 building 70,70,70
12 wall 102,102,156|13 fence 190,153,153|14 guard rail 180,165,180|15 bridge 150,100,100|16 tunnel 150,120,90
17 pole 153,153,153|18 polegroup 153,153,153|19 traffic light 250,170,30|20 traffic sign 220,220,0
21 vegetation 107,142,35|22 terrain 152,251,152|23 sky 70,130,180|24 person 220,20,60|25 rider 255,0,0
26 car 0,0,142|27 truck 0,0,70|28 bus 0,60,100|29 caravan 0,0,90|30 trailer 0,0,110|31 train 0,80,100
32 motorcycle 0,0,230|33 bicycle 119,11,32
"""


def cityscapes_table() -> ClassTable:
    """Ids of Cityscapes (https://www.cityscapes-dataset.com/dataset-overview/); void ones have no color."""
    found = re.findall(r"(\d+) (\D+?)(?: ([\d,]+))?(?:[|\n]|$)", _CITYSCAPES.strip())
    rows = ((int(value), name, _color(color.split(","))) for value, name, color in found)
    return ClassTable(tuple(ClassRow(name, value, color, color is None) for value, name, color in rows))
