"""The schema of a recipe as a tree of dotted paths."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
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


def settings_of(section: Any) -> dict[str, Any]:
    """The settings of a section that are not at their defaults, as plain nested values."""
    found, kind = {}, section.__class__
    for name, field in fields_of(kind).items():
        value = getattr(section, name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if type(value) is not type(default) or value != default:
            found[name] = plain_values(value)
    return found


def plain_values(value: Any) -> Any:
    """A value as YAML would hold it: sections and mappings as dicts, sequences as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return settings_of(value)
    if isinstance(value, Mapping):
        return {str(key): plain_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value  # numbers of numpy


def has_mappings(section: Any) -> bool:
    """Whether a dict stands where a section should, at any depth."""
    inner = (getattr(section, name) for name in sections_in(section.__class__))
    return any(
        isinstance(one, Mapping) or (dataclasses.is_dataclass(one) and has_mappings(one)) for one in inner
    )
