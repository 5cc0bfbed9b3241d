"""Reading a recipe: text, overrides, schema, rules; every fault at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from detr_hf.errors import UserError
from detr_hf.recipe.faults import Fault, schema_fault, told, wrong_choice
from detr_hf.recipe.overrides import apply_overrides
from detr_hf.recipe.rules import RULES, Look, as_path, idle_keys
from detr_hf.recipe.schema import RECIPES, Recipe
from detr_hf.recipe.tree import plain, settled
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml, write_yaml


def load_recipe(path: str | FilePath, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `key=value` overrides.

    Raises UserError listing every fault, one per line, each under its dotted path.
    """
    return recipe_from_text(read_recipe_file(path), overrides, source=str(path))


def recipe_from_text(text: str, overrides: Sequence[str] = (), source: str = "recipe") -> Recipe:
    """As `load_recipe`, from YAML text; `source` names it in the messages."""
    written, faults = read_yaml(text, source)
    if not isinstance(written, dict):
        raise UserError(
            f"{source}: a recipe is a list of `name: value` lines, starting with `task: detection`"
        )
    faults += apply_overrides(written, overrides, _recipe_type(written))
    recipe_type = _recipe_type(written)
    faults += _task_faults(written)
    written = written | {"task": _task_of(recipe_type)}
    look = Look(written, settled(recipe_type, written))
    if look("model.freeze_detector") is False and not look.says("detection_loss"):
        written["detection_loss"] = {}
    if look("model.scratch") is True and not look.says("model.freeze_backbone"):
        written["model"]["freeze_backbone"] = "none"
    look = Look(written, settled(recipe_type, written))
    recipe, more = _validate(written, recipe_type)
    faults += _new_places(more, faults)
    for rule in RULES:
        faults += _new_places(list(rule(look)), faults)
    if faults or recipe is None:
        raise UserError(told(faults, source))
    return recipe


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """The settings in effect, as plain nested values. Unset and idle ones (`rules.IDLE`) are left out."""
    values = plain(recipe)
    for key in idle_keys(Look(values, values)):
        *parents, name = as_path(key)
        place: Any = values
        for parent in parents:
            place = place.get(parent) or {}
        place.pop(name, None)
    return _without_unset(values)


def recipe_to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML text that `load_recipe` reads back to an equal recipe."""
    return write_yaml(recipe_to_dict(recipe))


def _without_unset(values: dict[str, Any]) -> dict[str, Any]:
    """Drops None from sections; arguments of transforms stand inside lists and keep theirs."""
    kept = {key: value for key, value in values.items() if value is not None}
    return {key: _without_unset(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _recipe_type(written: dict[str, Any]) -> type[Any]:
    """The recipe that is meant; where `task` is missing or misspelt, the likelier one."""
    task = written.get("task")
    if isinstance(task, str) and task in RECIPES:
        return RECIPES[task]
    model = written.get("model")
    looks_panoptic = isinstance(model, dict) and ("detector" in model or "mask_head" in model)
    return RECIPES["panoptic" if looks_panoptic or str(task).startswith("p") else "detection"]


def _task_of(recipe_type: type[Any]) -> str:
    return next(task for task, candidate in RECIPES.items() if candidate is recipe_type)


def _task_faults(written: dict[str, Any]) -> list[Fault]:
    task = written.get("task")
    if task is None:
        return [Fault(("task",), f"missing; write {' or '.join(f'`task: {name}`' for name in RECIPES)}")]
    if not isinstance(task, str) or task not in RECIPES:
        return [Fault(("task",), wrong_choice(task, list(RECIPES)))]
    return []


def _validate(written: dict[str, Any], recipe_type: type[Any]) -> tuple[Recipe | None, list[Fault]]:
    """Build the recipe, through JSON: only there does pydantic's strict mode take dicts for dataclasses."""
    try:
        return TypeAdapter(recipe_type).validate_json(json.dumps(written)), []
    except ValidationError as error:
        return None, [schema_fault(item, recipe_type) for item in error.errors(include_url=False)]


def _new_places(found: list[Fault], known: list[Fault]) -> list[Fault]:
    """One fault per place: a value that could not be read should not also be called wrong."""
    taken = {fault.path for fault in known if fault.path}
    return [fault for fault in found if fault.path not in taken]
