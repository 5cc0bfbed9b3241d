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
from detr_hf.foreign_files import as_path
from detr_hf.recipe.faults import Fault
from detr_hf.recipe.shipped import find_recipe, unknown_recipe
from detr_hf.recipe.tree import Path

TAG = "tag:yaml.org,2002:"
MAX_VALUES = 20_000  # aliases can multiply without end

# The plain words of YAML 1.2: what each looks like, which letters it starts with, and what it becomes.
WORDS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    "int": (r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789", int),
    "float": (r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789", float),
    "null": (r"~|null|Null|NULL|", "~nN", lambda _: None),
}


class RecipeLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain words of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (as PyYAML declares it)


class RecipeDumper(yaml.SafeDumper):
    """Quotes what either reader, ours or stock PyYAML, would take for something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for kind, (pattern, starts, _) in WORDS.items():
    for yaml_class in (RecipeLoader, RecipeDumper):
        first = [*starts, ""] if kind == "null" else list(starts)
        yaml_class.add_implicit_resolver(TAG + kind, re.compile(f"^(?:{pattern})$"), first)


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


def write_flow(value: Any) -> str:
    """A plain value on one line."""
    text = yaml.dump(
        [value],
        Dumper=RecipeDumper,
        sort_keys=False,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
    )
    return text.strip()[1:-1]


def read_recipe_file(path: str | FilePath) -> str:
    """The text of a recipe file, or of the shipped recipe of that name.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    file = find_recipe(as_path(path, "recipe"))
    if file.is_dir():
        raise UserError(
            f"{path}: is a folder; a recipe is a YAML file, and `detr-hf init` writes one for data."
        )
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: {unknown_recipe(str(path))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a recipe ({error})") from None


class _Builder:
    """Turns YAML nodes into plain values and notes faults by path.

    Stock PyYAML's constructor knows no paths, takes the last of two equal keys, and lets two aliases share
    one list, which an override would then change in both places.
    """

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
        if isinstance(node, yaml.ScalarNode) and kind == "str":
            # nothing can be named with them: Python refuses such a path by a bare ValueError
            bad = re.search("[\0\ud800-\udfff]", node.value)
            what = "a NUL" if bad and bad[0] == "\0" else "half a character"
            return self.fault(path, f"holds {what}; remove it") if bad else node.value
        if not isinstance(node, yaml.ScalarNode) or kind not in WORDS:
            return self.fault(path, f"the tag `{node.tag}` is not allowed in a recipe; write a plain value")
        try:
            return WORDS[kind][2](node.value)
        except ValueError:  # an explicit tag such as `!!int ten`
            return self.fault(path, f"{node.value!r} does not fit its tag; write a plain value")

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(path, f"line {line}: a key must be a word, got a list or mapping")
                continue
            if key_node.tag != TAG + "str":
                self.fault(path, f"line {line}: a key must be a word, got {key}")
                continue
            if key in lines:
                self.fault((*path, key), f"given twice, on lines {lines[key]} and {line}; keep one")
            lines.setdefault(key, line)
            result[key] = self.build(value_node, (*path, key))
        return result

    def fault(self, path: Path, message: str) -> None:
        self.faults.append(Fault(path, message))
