"""Settings with their reasons as the commented YAML of a recipe."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from detr_hf.advice.settings import Setting
from detr_hf.recipe.yaml_text import write_flow

WIDTH = 118
COMMENT_AT = 34  # column of a comment beside a short setting
TITLES = {
    "data": "images and annotations",
    "transforms": "augmentation, in pixels",
    "model": "network and loss",
    "optim": "optimization",
    "evaluation": "evaluation",
}


def recipe_text(head: Sequence[str], task: str, settings: Iterable[Setting]) -> str:
    """The text of a recipe file.

    Args:
        head: the lines of the comment that it begins with.
        task: "detection" or "panoptic".
        settings: those of one section next to each other; a key without a dot stands at the top.
    """
    lines = [*(f"# {line}".rstrip() for line in head), "", f"task: {task}"]
    for section, group in groupby(settings, key=lambda one: one.key.rpartition(".")[0]):
        if section in TITLES:
            lines += ["", f"# ---- {TITLES[section]} ".ljust(WIDTH, "-")]
        elif section:
            lines.append("")
        if section:
            lines.append(f"{section}:")
        indent = "  " if section else ""
        for setting in group:
            lines += _lines(setting.key.rpartition(".")[2], setting.value, setting.reason, indent)
    return "\n".join(lines) + "\n"


def _lines(name: str, value: Any, reason: str, indent: str) -> list[str]:
    """A setting with its reason beside it, or above it where that would be too long."""
    written = [indent + line for line in _yaml(name, value)]
    if not reason:
        return written
    beside = f"{written[0]:{COMMENT_AT - 1}} # {reason}"
    if len(written) == 1 and len(beside) <= WIDTH:
        return [beside]
    return [
        f"{indent}# {line}" for line in textwrap.wrap(reason, WIDTH - len(indent) - 2, break_on_hyphens=False)
    ] + written


def _yaml(name: str, value: Any) -> list[str]:
    """`name: value`; a list of transforms with a line for each of those that hold no others."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return [f"{name}: {write_flow(value)}"]
    lines = [f"{name}:"]
    for entry in value:
        inner = entry.get("transforms")
        if inner is None:
            lines.append(f"  - {write_flow(entry)}")
            continue
        first, *rest = (f"{key}: {write_flow(one)}" for key, one in entry.items() if key != "transforms")
        lines += [f"  - {first}", *(f"    {line}" for line in [*rest, *_yaml("transforms", inner)])]
    return lines
