"""Walking a recipe as a tree: its schema, what the user wrote, and what is in effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_type_hints

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`("transforms", "train", 0)` as `transforms.train.0`."""
    return ".".join(str(part) for part in path)


@cache
def sections_in(cls: type) -> dict[str, type]:
    """The settings of a dataclass that are dataclasses themselves (`X` or `X | None`), by name."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        for candidate in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
                found[name] = candidate
    return found


def names_in(cls: type) -> list[str]:
    """The settings of a dataclass, in order."""
    return [field.name for field in dataclasses.fields(cls)]


def section_at(cls: type, path: Path) -> type | None:
    """The dataclass that `path` leads to in the schema of `cls`; None where it leads to none."""
    current: type | None = cls
    for part in path:
        current = sections_in(current).get(str(part)) if current else None
    return current


def all_paths(cls: type, prefix: Path = ()) -> Iterator[Path]:
    """Every setting and section in the schema of `cls`."""
    inner = sections_in(cls)
    for name in names_in(cls):
        yield (*prefix, name)
        if name in inner:
            yield from all_paths(inner[name], (*prefix, name))


def default_of(cls: type, name: str) -> Any:
    """A fresh default of one setting, as plain YAML values; None where the setting has none."""
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory())
    return None if field.default is dataclasses.MISSING else field.default


def plain(value: Any) -> Any:
    """Dataclasses as dicts, all the way down; lists and dicts are copied."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in names_in(type(value))}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def settled(cls: type, written: Any) -> dict[str, Any]:
    """What is in effect: `written` with defaults filled in. A required setting that is missing is None."""
    inner, given = sections_in(cls), written if isinstance(written, dict) else {}
    result = {}
    for name in names_in(cls):
        value = given.get(name)
        if value is None:
            value = default_of(cls, name)
        result[name] = settled(inner[name], value) if name in inner and isinstance(value, dict) else value
    return result


def look_up(tree: Any, path: Path) -> Any:
    """The value at `path` in nested dicts; None where there is none."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
