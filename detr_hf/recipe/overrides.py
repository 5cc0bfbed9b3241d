"""Changes to a recipe: `optim.lr=1e-5`, `transforms.train.0.p=0`, `data.demo=null`; in Python also a dict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from detr_hf.errors import UserError, quantity
from detr_hf.recipe.faults import Fault, nearest, quoted
from detr_hf.recipe.tree import Path, fields_of, plain_values, section_at
from detr_hf.recipe.yaml_text import read_yaml

Overrides = Sequence[str] | Mapping[str, Any]
"""`["optim.lr=1e-5"]` or `{"optim.lr": 1e-5}`, of which `{"optim": {"lr": 1e-5}}` is another spelling."""

SHORT_KEYS = {
    "epochs": "optim.epochs",
    "max_steps": "optim.max_steps",
    "batch_size": "optim.batch_size",
    "lr": "optim.lr",
}
"""What a training takes without its section, from the command line and from Python."""


def with_full_keys(overrides: Iterable[str]) -> list[str]:
    """`epochs=5` as `optim.epochs=5`; see ``SHORT_KEYS``."""
    parts = (text.partition("=") for text in overrides)
    return [f"{SHORT_KEYS.get(key.strip(), key)}{equals}{value}" for key, equals, value in parts]


def as_texts(overrides: Overrides, recipe_types: Iterable[type]) -> list[str]:
    """Overrides as `key=value`; a dict at a section changes what it names and leaves the rest.

    Raises:
        UserError: an override is no text, or a value is nothing that a recipe can hold.
    """
    if isinstance(overrides, str):
        return [overrides]
    if not isinstance(overrides, Mapping):
        texts = list(overrides) if isinstance(overrides, Iterable) else [overrides]
        for text in texts:
            if not isinstance(text, str):
                raise UserError(
                    f"overrides: {text!r} is no override; give a dict, or texts such as 'optim.lr=1e-4'."
                )
        return texts
    types = list(recipe_types)
    return [f"{key}={as_json(value)}" for key, value in _flat(overrides, types, "")]


def as_json(value: Any) -> str:
    """A value as JSON, which is YAML as well; raises UserError where it is nothing that a recipe can hold."""
    return json.dumps(plain_values(value), default=_refuse, ensure_ascii=False)


def _flat(overrides: Mapping[str, Any], types: Sequence[type], start: str) -> Iterator[tuple[str, Any]]:
    for name, value in overrides.items():
        key = f"{start}{name}"
        path = tuple(key.split("."))
        if isinstance(value, Mapping) and any(section_at(one, path) is not None for one in types):
            yield from _flat(value, types, f"{key}.")
        else:
            yield key, value


def _refuse(value: Any) -> NoReturn:
    raise UserError(f"recipe: {value!r} cannot be a setting; give text, numbers, lists or dicts.")


class _RefusedError(Exception):
    """An override that leads nowhere; carries the reason."""


def apply_overrides(written: dict[str, Any], overrides: Sequence[str], recipe_type: type) -> list[Fault]:
    """Write each override into `written`, in order, so that the last one wins; the faults are returned.

    The value is read by the rules of the recipe file. `null` takes a setting out: its default holds again. A
    path may go into a list by index, also where the file leaves the list at its default. An unknown setting
    is written too, and refused by the schema like one in the file.
    """
    faults = []
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
            faults += [Fault((*path, *fault.path), fault.message) for fault in inner]
            _write(written, path, value, recipe_type)
        except UserError as error:
            faults.append(Fault((), str(error)))
        except _RefusedError as error:
            faults.append(Fault(path, str(error)))
    return faults


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
