"""Changes to a recipe: `optim.lr=1e-5` on the command line, `{"optim.lr": 1e-5}` in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_hf.errors import UserError, quantity
from detr_hf.recipe.faults import Fault, nearest, quoted
from detr_hf.recipe.tree import Path, fields_of, plain_values, section_at
from detr_hf.recipe.yaml_text import read_yaml

Overrides = Sequence[str] | Mapping[str, Any]
"""`["optim.lr=1e-5"]` or `{"optim.lr": 1e-5}`; in the latter `{"optim": {"lr": 1e-5}}` is the same."""


class _RefusedError(Exception):
    """An override that leads nowhere; carries the reason."""


def apply_overrides(written: dict[str, Any], overrides: Overrides, recipe_type: type) -> list[Fault]:
    """Write each override into `written`, in order, so that the last one wins; the faults are returned.

    A text is read by the rules of the recipe file. `null`, or None, takes a setting out: its default holds
    again. A path may go into a list by index, also where the file leaves the list at its default. An unknown
    setting is written too, and refused by the schema like one in the file.
    """
    faults: list[Fault] = []
    if isinstance(overrides, Mapping):
        changes = _changes_of_values(overrides, recipe_type, ())
    else:
        changes = _changes_of_texts(overrides, faults)
    for path, value in changes:
        try:
            _write(written, path, value, recipe_type)
        except _RefusedError as error:
            faults.append(Fault(path, str(error)))
    return faults


def _changes_of_texts(overrides: Sequence[str], faults: list[Fault]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            faults.append(Fault((), f"`{override}` is no override; write `section.setting=value`"))
            continue
        if not text.strip():
            faults.append(Fault(path, "the override has no value; write `null` to get the default back"))
            continue
        try:
            value, inner = read_yaml(text, f"override `{key.strip()}`")
        except UserError as error:
            faults.append(Fault((), str(error)))
            continue
        faults += [Fault((*path, *fault.path), fault.message) for fault in inner]
        yield path, value


def _changes_of_values(
    overrides: Mapping[str, Any], recipe_type: type, inside: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A dict at a section changes what it names there and leaves the rest; elsewhere it is a value."""
    for key, value in overrides.items():
        path = (*inside, *str(key).split("."))
        if isinstance(value, Mapping) and section_at(recipe_type, path) is not None:
            yield from _changes_of_values(value, recipe_type, path)
        else:
            yield path, plain_values(value)


def _write(tree: dict[str, Any], path: tuple[str, ...], value: Any, recipe_type: type) -> None:
    """Set or take out the value at `path`, making sections and default lists on the way."""
    place: Any = tree
    for depth in range(1, len(path)):
        key = _key_in(place, path[:depth])
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = _start(recipe_type, path[:depth])
        place = place[key]
    key, section = _key_in(place, path), section_at(recipe_type, path[:-1])
    if value is None and section is not None and key in fields_of(section):
        place.pop(key, None)  # null as an argument of a transform is a value, and stays
    else:
        place[key] = value


def _start(recipe_type: type, path: Path) -> Any:
    """What a path goes through where nothing is written: a copy of a default list, else an empty section."""
    section = section_at(recipe_type, path[:-1])
    field = fields_of(section).get(str(path[-1])) if section else None
    if field is None or field.default_factory is dataclasses.MISSING:
        return {}
    default = field.default_factory()
    return default if isinstance(default, list) else {}


def _key_in(place: Any, path: tuple[str, ...]) -> Any:
    """The last part of `path` as a key or an index of `place`; refused where it is neither."""
    part = path[-1]
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise _RefusedError(f"`{path[-2]}` is {quoted(place)}, a single value without parts")
    held = f"`{path[-2]}` holds {quantity(len(place), 'entry')}"
    if not part.isdecimal():
        named = [str(entry.get("name")).lower() if isinstance(entry, dict) else "" for entry in place]
        guess = nearest(part, named)
        hint = f" (`{guess}` is number {named.index(guess)})" if guess else ""
        raise _RefusedError(f"{held}; give the number of one, counted from 0{hint}")
    if int(part) >= len(place):
        raise _RefusedError(f"{held}, counted from 0; there is no number {part}")
    return int(part)
