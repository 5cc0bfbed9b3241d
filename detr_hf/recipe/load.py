"""Reading and writing recipes of any kind: text, overrides, schema, rules; every fault at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from detr_hf.errors import UserError
from detr_hf.recipe.faults import Fault, format_errors, schema_faults, wrong_choice
from detr_hf.recipe.overrides import Overrides, apply_overrides, as_json, as_texts
from detr_hf.recipe.rules import RULES, UNUSED, Unused, with_defaults
from detr_hf.recipe.schema import RECIPES, Recipe
from detr_hf.recipe.tree import Path, dotted, fields_of, look_up, plain_values, sections_in
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml, write_yaml

R = TypeVar("R")


@dataclass(frozen=True)
class RecipeFormat(Generic[R]):
    """What recipes of one purpose hold and must agree on."""

    types: Mapping[str, type[Any]]  # by `task`
    rules: tuple[Callable[[Any], Iterator[tuple[str, str]]], ...] = ()  # (dotted path, message) of each fault
    unused: tuple[Unused, ...] = ()
    with_defaults: Callable[[dict[str, Any]], None] = lambda written: None

    def __post_init__(self) -> None:
        for recipe_type in self.types.values():
            recipe_type.from_values = self.from_values

    def load(self, path: str | FilePath, overrides: Overrides = ()) -> R:
        """Read a recipe file and change settings: `["optim.lr=1e-5"]` or `{"optim.lr": 1e-5}`.

        Raises UserError listing every fault, one per line, each under its dotted path.
        """
        return self.from_text(read_recipe_file(path), overrides, source=str(path))

    def from_text(self, text: str, overrides: Overrides = (), source: str = "recipe") -> R:
        """As `load`, from YAML text; `source` names it in the messages."""
        written, faults = read_yaml(text, source)
        if not isinstance(written, dict):
            start = f"starting with `task: {next(iter(self.types))}`"
            raise UserError(f"{source}: a recipe is a list of `name: value` lines, {start}")
        return self._checked(written, overrides, source, faults)

    def from_values(self, values: Mapping[str, Any], overrides: Overrides = ()) -> R:
        """As `load`, from settings as a file would hold them."""
        return self._checked(plain_values(values), overrides, "recipe", [])

    def _checked(self, written: dict[str, Any], overrides: Overrides, source: str, faults: list[Fault]) -> R:
        texts = as_texts(overrides, self.types.values())
        faults += apply_overrides(written, texts, self.types[self._meant(written)])
        faults += self._task_faults(written)
        task = self._meant(written)
        written = written | {"task": task}
        self.with_defaults(written)
        recipe, more = self._validated(task, written)
        _add_new(faults, more)
        readable = _readable(self.types[task], written, {fault.path for fault in more})
        for rule in (*self.rules, lambda recipe: self._unused_but_set(recipe, written)):
            _add_new(faults, _found_by(rule, readable))
        if faults or recipe is None:
            raise UserError(format_errors(faults, source))
        return recipe

    def to_dict(self, recipe: R) -> dict[str, Any]:
        """The settings in effect, as plain nested values. Unset and unused ones are left out."""
        values = dataclasses.asdict(recipe)  # type: ignore[call-overload]
        for key in self._reasons(recipe):
            *parents, name = key.split(".")
            (look_up(values, tuple(parents)) or {}).pop(name, None)
        return _without_unset(values)

    def to_yaml(self, recipe: R) -> str:
        """The recipe as YAML text that `load` reads back to an equal recipe."""
        return write_yaml(self.to_dict(recipe))

    def _meant(self, written: dict[str, Any]) -> str:
        """The task that is meant; where it is missing or misspelt, the one that leaves the fewest faults."""
        task = written.get("task")
        if isinstance(task, str) and task in self.types:
            return task
        return min(self.types, key=lambda task: len(self._validated(task, written)[1]))

    def _task_faults(self, written: dict[str, Any]) -> list[Fault]:
        task = written.get("task")
        if task is None:
            tasks = " or ".join(f"`task: {name}`" for name in self.types)
            return [Fault(("task",), f"missing; write {tasks}")]
        if not isinstance(task, str) or task not in self.types:
            return [Fault(("task",), wrong_choice(task, self.types))]
        return []

    @cached_property
    def _validators(self) -> dict[str, TypeAdapter[Any]]:
        # Made anew for every recipe of a study, they would be most of the time that reading takes.
        return {task: TypeAdapter(recipe_type) for task, recipe_type in self.types.items()}

    def _validated(self, task: str, written: dict[str, Any]) -> tuple[R | None, list[Fault]]:
        """Through JSON: only there does pydantic's strict mode take dicts for dataclasses."""
        try:
            return self._validators[task].validate_json(as_json(written)), []
        except ValidationError as error:
            return None, schema_faults(error.errors(include_url=False), task, self.types)

    def _reasons(self, recipe: Any) -> dict[str, str]:
        """The settings that do nothing in this run, each with the reason."""
        reasons: dict[str, str] = {}
        for row in self.unused:
            try:
                found = row.keys if row.when(recipe) else ()
            except UnreadableError:
                continue
            for key in found:
                reasons.setdefault(key, row.because)
        return reasons

    def _unused_but_set(self, recipe: Any, written: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for key, because in self._reasons(recipe).items():
            if look_up(written, tuple(key.split("."))) is not None:
                yield key, f"does nothing here: {because}"


class UnreadableError(Exception):
    """A rule looked at a value that could not be read."""


class _Unreadable:
    """In place of a missing or wrong value, so that every rule that needs it is skipped."""

    def _skip(self, *_: Any) -> NoReturn:
        raise UnreadableError

    __getattr__ = __bool__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __iter__ = _skip
    __mod__ = __rmod__ = __neg__ = __floordiv__ = __rfloordiv__ = _skip


def _readable(cls: type, written: dict[str, Any], faulty: set[Path], path: Path = ()) -> Any:
    """The recipe as far as it could be read: rules see it, whatever else is wrong."""
    if path in faulty:  # at the root: the text could not be read as JSON, so nothing is known
        return _Unreadable()
    inner, values = sections_in(cls), {}
    for name, field in fields_of(cls).items():
        here, required = (*path, name), field.default is field.default_factory is dataclasses.MISSING
        if name in inner and isinstance(written.get(name), dict):
            values[name] = _readable(inner[name], written[name], faulty, here)
        elif here in faulty or (required and name not in written):
            values[name] = _Unreadable()
        elif name in written:
            values[name] = written[name]
    return cls(**values)


def _found_by(rule: Callable[[Any], Iterator[tuple[str, str]]], recipe: Any) -> Iterator[Fault]:
    try:
        for key, message in rule(recipe):
            yield Fault(tuple(key.split(".")), message)
    except UnreadableError:
        return


def _add_new(faults: list[Fault], found: Iterable[Fault]) -> None:
    """One fault per place: a value that could not be read should not also be called wrong."""
    taken = {dotted(fault.path) for fault in faults if fault.path}
    for fault in found:
        if dotted(fault.path) not in taken:
            faults.append(fault)
            taken |= {dotted(fault.path)} - {""}


def _without_unset(values: dict[str, Any]) -> dict[str, Any]:
    """Drops None from sections; arguments of transforms stand inside lists and keep theirs."""
    kept = {key: value for key, value in values.items() if value is not None}
    return {key: _without_unset(value) if isinstance(value, dict) else value for key, value in kept.items()}


TRAINING = RecipeFormat[Recipe](RECIPES, RULES, UNUSED, with_defaults)

load_recipe = TRAINING.load
recipe_from_text = TRAINING.from_text
recipe_to_dict = TRAINING.to_dict
recipe_to_yaml = TRAINING.to_yaml
