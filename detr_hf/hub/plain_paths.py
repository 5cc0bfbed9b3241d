"""Paths of one machine have no place on the Hub: only their last part is kept."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

from detr_hf.recipe import Recipe, recipe_to_dict
from detr_hf.recipe.yaml_text import write_yaml

ABSOLUTE = re.compile(
    r"""(?:^|(?<=[\s"'`(=>\[{]))            # what a path stands behind: no part of an address, tag or image
    (?:~?/|[A-Za-z]:[\\/])               # the root of a disk, or a home
    (?:[^\s`'"<>|,;()\\/]+[\\/])+        # one folder at least
    [^\s`'"<>|,;()\\/]*""",
    re.MULTILINE | re.VERBOSE,
)


def without_paths(text: str) -> str:
    """``text`` with every absolute path cut to its last part."""
    return ABSOLUTE.sub(lambda found: last_part(found[0]), text)


def last_part(path: str) -> str:
    """`train.json` of any path of Linux, macOS or Windows."""
    return PureWindowsPath(path.rstrip("/\\")).name or path


def is_absolute(text: str) -> bool:
    """Whether a setting is a path that starts at the root of a disk or of somebody's home."""
    return text.startswith("~") or Path(text).is_absolute() or PureWindowsPath(text).is_absolute()


def public_recipe(recipe: Recipe) -> str:
    """The settings in effect as YAML, with absolute paths cut, and without where it is pushed to."""
    values = recipe_to_dict(recipe)
    return write_yaml(
        {key: _cut(value) for key, value in values.items() if key not in ("push_to_hub", "hub")}
    )


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return last_part(value) if isinstance(value, str) and is_absolute(value) else value
