"""`key=value` on the command line: `optim.lr=1e-5`, `transforms.train.0.p=0`, `data.demo=null`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detr_hf.errors import UserError
from detr_hf.recipe.faults import Fault, nearest, quoted
from detr_hf.recipe.tree import Path, default_of, names_in, section_at
from detr_hf.recipe.yaml_text import read_yaml


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


def _write(tree: dict[str, Any], path: Path, value: Any, recipe_type: type) -> None:
    """Set or take out the value at `path`, making sections and default lists on the way."""
    place: Any = tree
    for depth, part in enumerate(path[:-1]):
        if isinstance(place, dict) and place.get(str(part)) is None:
            place[str(part)] = _start(recipe_type, path[: depth + 1])
        place = _step(place, path[: depth + 1])
    last = str(path[-1])
    if isinstance(place, list):
        place[_index(place, path)] = value
    elif not isinstance(place, dict):
        raise _RefusedError(f"`{path[-2]}` is {quoted(place)}, a single value without parts")
    elif value is None and _is_setting(recipe_type, path):
        place.pop(last, None)
    else:
        place[last] = value


def _is_setting(recipe_type: type, path: Path) -> bool:
    """Whether `path` names a setting or section of the schema, rather than an argument of a transform."""
    section = section_at(recipe_type, path[:-1])
    return section is not None and path[-1] in names_in(section)


def _start(recipe_type: type, path: Path) -> Any:
    """What a path goes through where nothing is written: a copy of a default list, else an empty section."""
    section, name = section_at(recipe_type, path[:-1]), str(path[-1])
    if section is not None and name in names_in(section):
        default = default_of(section, name)
        if isinstance(default, list):
            return default
    return {}


def _step(place: Any, path: Path) -> Any:
    if isinstance(place, dict):
        return place[str(path[-1])]
    if isinstance(place, list):
        return place[_index(place, path)]
    raise _RefusedError(f"`{path[-2]}` is {quoted(place)}, a single value without parts")


def _index(place: list[Any], path: Path) -> int:
    """The last part of `path` as an index of `place`; refused when it is none."""
    part, held = str(path[-1]), f"`{path[-2]}` holds {len(place)} entries"
    if not part.isdecimal():
        named = [str(entry.get("name")) for entry in place if isinstance(entry, dict)]
        guess = nearest(part, [name.lower() for name in named])
        hint = f" (`{guess}` is number {[name.lower() for name in named].index(guess)})" if guess else ""
        raise _RefusedError(f"{held}; give the number of one, counted from 0{hint}")
    if int(part) >= len(place):
        raise _RefusedError(f"{held}, counted from 0; there is no number {part}")
    return int(part)
