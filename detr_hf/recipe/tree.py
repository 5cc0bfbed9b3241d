"""The schema of a recipe as a tree of dotted paths."""

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
def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a section by name, in order."""
    return {field.name: field for field in dataclasses.fields(cls)}


@cache
def sections_in(cls: type) -> dict[str, type]:
    """The settings of a section that are sections themselves (`X` or `X | None`), by name."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        for candidate in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
                found[name] = candidate
    return found


def section_at(cls: type, path: Path) -> type | None:
    """The section that `path` leads to in the schema of `cls`; None where it leads to none."""
    current: type | None = cls
    for part in path:
        current = sections_in(current).get(str(part)) if current else None
    return current


def all_paths(cls: type, prefix: Path = ()) -> Iterator[Path]:
    """Every setting and section in the schema of `cls`."""
    inner = sections_in(cls)
    for name in fields_of(cls):
        yield (*prefix, name)
        if name in inner:
            yield from all_paths(inner[name], (*prefix, name))


def look_up(tree: Any, path: Path) -> Any:
    """The value at `path` in nested dicts; None where there is none."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
