"""Recipes as YAML text, read without YAML's surprises.

`1e-4` is a number and `no` is a word (stock PyYAML reads a string and False); duplicate keys are refused;
only plain values exist, so a tag can build nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import yaml

from detr_hf.errors import UserError
from detr_hf.recipe.faults import Fault
from detr_hf.recipe.tree import Path

TAG = "tag:yaml.org,2002:"
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,17})$")
FLOAT = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$")
CONVERT: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
}
NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
MAX_VALUES = 20_000  # aliases can multiply without end


class RecipeLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain words of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (as PyYAML declares it)


class RecipeDumper(yaml.SafeDumper):
    """Quotes what either reader, ours or stock PyYAML, would take for something other than text."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012
        key: list(rules) for key, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


for kind, pattern, first in (
    ("bool", BOOL, "tTfF"),
    ("int", INT, "-+0123456789"),
    ("float", FLOAT, "-+.0123456789"),
    ("null", NULL, ["~", "n", "N", ""]),
):
    RecipeLoader.add_implicit_resolver(TAG + kind, pattern, list(first))
    RecipeDumper.add_implicit_resolver(TAG + kind, pattern, list(first))


def read_yaml(text: str, source: str) -> tuple[Any, list[Fault]]:
    """The plain values in `text`, and every duplicate key, tag and key that is no text.

    Raises UserError, naming `source`, when the text is no YAML at all.
    """
    try:
        node = yaml.compose(text, Loader=RecipeLoader)
        builder = _Builder()
        return (builder.build(node, ()) if node else None), builder.faults
    except RecursionError:
        raise UserError(f"{source}: nested too deeply to be a recipe") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise UserError(f"{source}: not valid YAML: {where}{what}") from None


def write_yaml(values: dict[str, Any]) -> str:
    """Plain values as YAML text, in their order; short lists on one line."""
    return yaml.dump(
        values, Dumper=RecipeDumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )


class _Builder:
    """Turns YAML nodes into plain values and notes faults by path."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.values = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} values")
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in ("str", "int", "float", "bool", "null"):
            return self.scalar(node, kind, path)
        self.faults.append(
            Fault(path, f"the tag `{node.tag}` is not allowed in a recipe; write a plain value")
        )
        return None

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != TAG + "str":
                shown = (
                    getattr(key_node, "value", "")
                    if isinstance(key_node, yaml.ScalarNode)
                    else "a list or mapping"
                )
                self.faults.append(Fault(path, f"line {line}: a key must be a word, got {shown}"))
                continue
            key = key_node.value
            if key in lines:
                self.faults.append(
                    Fault((*path, key), f"given twice, on lines {lines[key]} and {line}; keep one")
                )
            lines.setdefault(key, line)
            result[key] = self.build(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.ScalarNode, kind: str, path: Path) -> Any:
        if kind == "str":
            return node.value
        if kind == "null":
            return None
        try:
            return CONVERT[kind](node.value)
        except ValueError:  # an explicit tag such as `!!int ten`
            self.faults.append(Fault(path, f"{node.value!r} does not fit its tag; write a plain value"))
            return None


def read_recipe_file(path: str | FilePath) -> str:
    """The text of a recipe file.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    try:
        return FilePath(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a recipe ({error})") from None
