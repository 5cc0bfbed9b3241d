"""What can be checked in a page of documentation: its commands, paths, recipe keys, code and links.

Every check takes a `Page` and returns what is wrong with it, one sentence each; tests/test_docs.py runs them
on the pages of the project and on small made-up ones.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from detr_hf.ablation.study import study_from_text
from detr_hf.errors import UserError
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, recipe_from_text
from detr_hf.recipe.prepare import PrepareRecipe
from detr_hf.recipe.tree import all_paths, dotted
from tests.doc_commands import wrong_commands, wrong_inline_commands, wrong_recipe
from tests.doc_page import ROOT, SUFFIXES, Page, wrong_path

SECTIONS = (
    "read|pseudo_stuff|split|write|data|transforms|model|loss|detection_loss|optim|evaluation|checkpoint|hub"
)
KEY = re.compile(rf"(?:{SECTIONS})(?:\.[a-z0-9_]+)+")
OVERRIDE = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*)=(\S+)")
SETTING = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*): \S.*")
MACHINE_PATH = re.compile(r"(?<![\w.})-])/(?:work|root|home|tmp|Users|mnt)/")
LANGUAGES = {"bash", "python", "yaml", "json", "text", "diff"}


def unknown_languages(page: Page) -> list[str]:
    """A block without a language would escape the checks."""
    return [
        f"a block is `{language}`, not one of {sorted(LANGUAGES)}"
        for language, _ in page.blocks
        if language not in LANGUAGES
    ]


def wrong_paths(page: Page) -> list[str]:
    """Inline code that looks like a path."""
    return [
        fault
        for span in page.spans
        if " " not in span and "=" not in span
        for fault in wrong_path(span, page)
    ]


def wrong_keys(page: Page) -> list[str]:
    """Recipe keys, overrides and `setting: value` within sentences."""
    problems = []
    for span in page.spans:
        if KEY.fullmatch(span) and not span.endswith(SUFFIXES) and not is_setting(span):
            problems.append(f"`{span}` is no setting of a recipe")
        elif (found := OVERRIDE.fullmatch(span)) and found[1] != "key" and not any_recipe_takes(span):
            problems.append(f"no shipped recipe takes `{span}`")
        elif (
            (found := SETTING.fullmatch(span)) and found[1] not in single_names() and not is_setting(found[1])
        ):
            problems.append(f"`{span}` is no setting of a recipe")
    return problems


@cache
def all_settings() -> frozenset[str]:
    """Every dotted path in the schema of any recipe."""
    kinds = (DetectionRecipe, PanopticRecipe, PrepareRecipe)
    return frozenset(dotted(path) for kind in kinds for path in all_paths(kind))


def is_setting(key: str) -> bool:
    """A dotted path of the schema; inside a list of transforms anything goes."""
    return key in all_settings() or re.match(r"transforms\.(train|validation)\.\d", key) is not None


@cache
def single_names() -> frozenset[str]:
    """The last parts of all settings, and the words of a transform."""
    return frozenset(key.split(".")[-1] for key in all_settings()) | {"name", "p", "transforms"}


@cache
def any_recipe_takes(override: str) -> bool:
    """Whether a shipped recipe is valid with this override."""
    files = [file for file in (ROOT / "recipes").rglob("*.yaml") if file.parent.name != "launch"]
    return any(not wrong_recipe(str(file), [override], ROOT) for file in files)


# ---- blocks of code


def wrong_python(page: Page) -> list[str]:
    """Python that does not compile, imports what is not there, or calls with unknown keywords."""
    problems = []
    for text in page.of_language("python"):
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            problems.append(f"python block: {error}")
            continue
        names: dict[str, Any] = {}
        problems += [fault for node in ast.walk(tree) for fault in _import(node, names)]
        problems += [fault for node in ast.walk(tree) for fault in _unknown_keywords(node, names)]
    return problems


def _import(node: ast.AST, names: dict[str, Any]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            module = _module(alias.name)
            if module is None:
                yield f"python block: there is no module {alias.name}"
    elif isinstance(node, ast.ImportFrom) and node.module:
        module = _module(node.module)
        for alias in node.names:
            _module(f"{node.module}.{alias.name}")  # a submodule is an attribute only once it is imported
            if not hasattr(module, alias.name):
                yield f"python block: {node.module} has no {alias.name}"
            else:
                names[alias.asname or alias.name] = getattr(module, alias.name)


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _unknown_keywords(node: ast.AST, names: dict[str, Any]) -> Iterator[str]:
    """Calls of what was imported from this package, `Name(...)` or `Name.method(...)`."""
    if not isinstance(node, ast.Call):
        return
    called, said = node.func, ast.unparse(node.func)
    target = names.get(called.id) if isinstance(called, ast.Name) else None
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in names:
        target = getattr(names[called.value.id], called.attr, None)
        if target is None:
            yield f"python block: there is no {said}"
    if target is None or not getattr(target, "__module__", "").startswith("detr_hf"):
        return
    known = inspect.signature(target).parameters
    yield from (f"python block: {said} has no argument {k.arg}" for k in node.keywords if k.arg not in known)


def wrong_yaml(page: Page) -> list[str]:
    """YAML blocks are studies, recipes, or sections that take the place of those of a shipped recipe."""
    problems = []
    for text in page.of_language("yaml"):
        if re.search(r"^base:", text, re.M):
            problems += _wrong_study(text)
            continue
        tries = [_recipe_with(text, ROOT / "recipes" / name) for name in ("detection.yaml", "panoptic.yaml")]
        if all(tries):
            problems.append(f"yaml block: {tries[0]}")
    return problems


def _wrong_study(text: str) -> list[str]:
    try:
        study_from_text(text, ROOT / "recipes" / "study.yaml")
    except UserError as error:
        return [f"yaml block: {error}"]
    return []


def _recipe_with(sections: str, file: Path) -> str:
    """What is wrong with a recipe whose sections are replaced by these."""
    try:
        replaced = set(yaml.safe_load(sections))
    except yaml.YAMLError as error:
        return " ".join(str(error).split())
    kept, dropping = [], False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line[:1].isalpha():
            dropping = line.split(":")[0] in replaced
        if not dropping:
            kept.append(line)
    try:
        recipe_from_text("\n".join(kept) + "\n" + sections)
    except UserError as error:
        return str(error)
    return ""


def wrong_json(page: Page) -> list[str]:
    """JSON blocks must be JSON."""
    problems = []
    for text in page.of_language("json"):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            problems.append(f"json block: {error}")
    return problems


# ---- links and machine paths


def wrong_links(page: Page) -> list[str]:
    """Relative links to files and headings."""
    problems = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", page.prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.root / page.name).parent / path if path else None
        if file is not None and not file.exists():
            problems.append(f"the link {target} leads nowhere")
            continue
        text = file.read_text(encoding="utf-8") if file is not None and anchor else page.text
        if anchor and anchor not in headings(text):
            problems.append(f"the link {target} names no heading")
    return problems


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", Page("", text).prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def machine_paths(page: Page) -> list[str]:
    """Absolute paths that exist on one machine only."""
    return [
        f"line {n}: a path of one machine"
        for n, line in enumerate(page.text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]


CHECKS: tuple[Callable[[Page], list[str]], ...] = (
    unknown_languages,
    wrong_commands,
    wrong_inline_commands,
    wrong_paths,
    wrong_keys,
    wrong_python,
    wrong_yaml,
    wrong_json,
    wrong_links,
    machine_paths,
)
