"""The file of a study: variants of a recipe, seeds; and every run that follows from it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from detr_hf.errors import UserError
from detr_hf.foreign_files import harmless_name
from detr_hf.recipe import Recipe, recipe_from_text, recipe_to_dict
from detr_hf.recipe.faults import Fault, format_errors, schema_fault
from detr_hf.recipe.fields import Seed, Text, section
from detr_hf.recipe.replay import NOT_PUSHED
from detr_hf.recipe.shipped import find_recipe, find_shipped
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml

BASE = "base"
OF_THE_STUDY = {
    "seed": "the study's `seeds` give it",
    "output_dir": "the study's `output_dir` gives it",
    "resume": "a study always resumes a run that was cut",
    "task": "a variant cannot change the task; write another study",
}
OF_STAGE_2 = {"model.detector": "it is what stage 1 left"}

Overrides = dict[str, Any]


@section
class Then:
    """Stage 2, on what every run of stage 1 leaves."""

    recipe: Text
    set: Overrides = field(default_factory=dict)
    without: list[Text] = field(default_factory=list)  # variants that end with stage 1


@section
class StudyFile:
    """What a study file holds. Recipes are relative to the file, as names of other files in a project are."""

    base: Text  # a recipe
    output_dir: Text
    seeds: Annotated[list[Seed], Field(min_length=1)]
    title: Text = "Ablation"
    design: Literal["one_at_a_time", "grid"] = "one_at_a_time"
    set: Overrides = field(default_factory=dict)  # of every run
    variants: dict[str, Overrides] = field(default_factory=dict)  # one_at_a_time: changes of the base by name
    factors: dict[str, list[Any]] = field(default_factory=dict)  # grid: values by setting, the base's first
    then: Then | None = None


@dataclass(frozen=True)
class Variant:
    """A name, the folder of that name, and what it changes."""

    name: str
    changes: Overrides

    @property
    def folder(self) -> str:
        """A name that every file system takes."""
        return harmless_name(re.sub(r"[^\w.-]+", "-", self.name).strip("-."))

    @property
    def said(self) -> str:
        """The changes in one line."""
        return ", ".join(f"{key}: {_value(value)}" for key, value in self.changes.items())


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        variant: its name.
        seed, stage: stage is the recipe's task.
        recipe: writes into ``folder``.
        after: the run of stage 1 that it builds on.
    """

    variant: str
    seed: int
    recipe: Recipe
    after: PlannedRun | None = None

    @property
    def stage(self) -> str:
        return self.recipe.task

    @property
    def folder(self) -> Path:
        return Path(self.recipe.output_dir)

    @property
    def pair(self) -> str:
        """What `--only` matches besides the variant."""
        return f"{self.variant}/seed-{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.pair}/{self.stage}"


@dataclass(frozen=True)
class Study:
    """A study whose recipes are all in order.

    Attributes:
        path: of its file.
        variants: the base first.
        runs: by variant, then by seed, then by stage.
    """

    path: Path
    file: StudyFile
    variants: list[Variant]
    runs: list[PlannedRun]

    @property
    def folder(self) -> Path:
        return Path(self.file.output_dir)

    @property
    def pairs(self) -> list[str]:
        """Every variant with every seed, as `--task` counts them."""
        return list(dict.fromkeys(run.pair for run in self.runs))


def load_study(path: Path) -> Study:
    """Read a study and build the recipe of every run.

    Raises:
        UserError: the file or a recipe has faults; all are listed, those of a recipe with its variant.
    """
    return study_from_text(read_recipe_file(path), find_recipe(path))


def study_from_text(text: str, path: Path) -> Study:
    """As ``load_study``; ``path`` is where the file would be."""
    file = _read(text, path)
    variants = list(_variants(file))
    faults = [*_faults_of_file(file)] or [*_faults_of_names(file, variants)]
    texts, unread = _texts(file, path.parent)
    faults += unread
    runs: list[PlannedRun] = []
    if not faults:
        runs, faults = _runs(file, variants, texts)
    if faults:
        raise UserError(format_errors(faults, str(path)))
    return Study(path, file, variants, runs)


def _read(text: str, path: Path) -> StudyFile:
    written, faults = read_yaml(text, str(path))
    if not isinstance(written, dict):
        raise UserError(f"{path}: a study is a list of `name: value` lines, starting with `base: RECIPE`")
    try:
        # through JSON: only there does pydantic's strict mode take dicts for dataclasses
        file = TypeAdapter(StudyFile).validate_json(json.dumps(written))
    except ValidationError as error:
        types = {"study": StudyFile}
        faults += [schema_fault(item, "study", types) for item in error.errors(include_url=False)]
    if faults:
        raise UserError(format_errors(faults, str(path)))
    return file


def _texts(file: StudyFile, folder: Path) -> tuple[dict[str, str], list[Fault]]:
    """The text of every recipe by the name it has in the study, and a fault for each that is not there."""
    texts, faults = {}, []
    for key, name in (("base", file.base), *([("then.recipe", file.then.recipe)] if file.then else [])):
        beside = folder / name
        found = beside if beside.exists() else find_shipped(name) or beside
        try:
            texts[name] = read_recipe_file(found)
        except UserError as error:
            faults.append(Fault((key,), str(error)))
    return texts, faults


def _variants(file: StudyFile) -> Iterator[Variant]:
    if file.design == "one_at_a_time":
        yield Variant(BASE, {})
        yield from (Variant(name, changes) for name, changes in file.variants.items())
        return
    names = _short_names(file.factors)
    for index, values in enumerate(itertools.product(*file.factors.values())):
        changes = dict(zip(file.factors, values, strict=True))
        name = ", ".join(f"{names[key]}={_value(value)}" for key, value in changes.items())
        yield Variant(name if index else BASE, changes)


def _short_names(keys: Mapping[str, Any]) -> dict[str, str]:
    """The last part of each setting, or all of it where two end alike."""
    last = [key.split(".")[-1] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _faults_of_file(file: StudyFile) -> Iterator[Fault]:
    """What the parts of a study must agree on."""
    if len(set(file.seeds)) < len(file.seeds):
        yield Fault(("seeds",), "names a seed twice; the second run would repeat the first")
    wanted, idle = ("variants", "factors") if file.design == "one_at_a_time" else ("factors", "variants")
    if not getattr(file, wanted):
        yield Fault((wanted,), f"missing; `design: {file.design}` needs at least one")
    if getattr(file, idle):
        yield Fault((idle,), f"does nothing with `design: {file.design}`; remove it")
    for key, values in file.factors.items():
        if len(values) < 2:
            yield Fault(("factors", key), "needs two values or more, the first of them the base's")
        if len({_value(value) for value in values}) < len(values):
            yield Fault(("factors", key), "names a value twice; remove one")
    places = [("set", file.set), ("factors", file.factors)]
    places += [(f"variants.{name}", changes) for name, changes in file.variants.items()]
    taken = OF_THE_STUDY
    if file.then:
        places.append(("then.set", file.then.set))
    for place, changes in places:
        refused = taken | OF_STAGE_2 if place == "then.set" else taken
        for key in refused.keys() & changes.keys():
            yield Fault((place, key), f"cannot be set here: {refused[key]}")
        if place.startswith("variants.") and not changes:
            yield Fault((place,), "changes nothing; write the settings that differ from the base")


def _faults_of_names(file: StudyFile, variants: list[Variant]) -> Iterator[Fault]:
    """Names that are no folders, the same one, or of no variant; file systems may take upper and lower case
    for the same."""
    seen: dict[str, str] = {}
    for variant in variants:
        folder = variant.folder.casefold()
        if not folder:
            yield Fault(("variants", variant.name), "no folder can have this name; use letters and digits")
        elif folder in seen:
            other = f"`{seen[folder]}`" if seen[folder] != BASE or variant.name == BASE else "the base"
            message = f"its folder would be that of {other} ({variant.folder}); choose another name"
            yield Fault(("variants", variant.name), message)
        seen.setdefault(folder, variant.name)
    names = [variant.name for variant in variants]
    for name in file.then.without if file.then else ():
        if name not in names:
            yield Fault(("then", "without"), f"`{name}` is no variant of this study")


def _runs(
    file: StudyFile, variants: list[Variant], texts: Mapping[str, str]
) -> tuple[list[PlannedRun], list[Fault]]:
    """The runs of all variants, and every fault of a recipe, by variant; the base's faults only once."""
    runs: list[PlannedRun] = []
    faults: list[Fault] = []
    known: set[str] = set()  # messages about the base
    same: dict[str, str] = {}
    for variant in variants:
        messages: list[str] = []
        found = [run for seed in file.seeds for run in _runs_of(file, variant, seed, texts, messages)]
        new = [text for text in dict.fromkeys(messages) if text not in known]
        if variant.name == BASE:
            known.update(new)
        place = BASE if variant.name == BASE else f"variant `{variant.name}`"
        faults += [Fault((place,), text) for text in new]
        if messages:
            continue
        runs += found
        content = json.dumps(recipe_to_dict(found[0].recipe) | {"output_dir": None}, sort_keys=True)
        if content in same:
            other = same[content]
            what = "the base's" if other == BASE else f"that of `{other}`"
            faults.append(Fault((place,), f"its recipe is {what}; change something else, or remove it"))
        same.setdefault(content, variant.name)
    return runs, faults


def _runs_of(
    file: StudyFile, variant: Variant, seed: int, texts: Mapping[str, str], messages: list[str]
) -> list[PlannedRun]:
    """The runs of one variant and seed; what is wrong with a recipe goes to ``messages``."""
    folder = Path(file.output_dir) / variant.folder / f"seed-{seed}"
    own = [f"seed={seed}", "resume=auto", *NOT_PUSHED]
    first = _recipe(texts[file.base], file.base, [*_words(file.set | variant.changes), *own], messages)
    if first is None:
        return []
    runs = [PlannedRun(variant.name, seed, _into(first, folder))]
    if file.then is not None and variant.name not in file.then.without:
        if first.task != "detection":
            messages.append(f"{file.base}: `then` builds on a detector; the base must be `task: detection`")
            return runs
        written, _ = read_yaml(texts[file.then.recipe], file.then.recipe)
        if isinstance(written, dict) and written.get("task") != "panoptic":
            messages.append(f"{file.then.recipe}: `then` is stage 2; its recipe must be `task: panoptic`")
            return runs
        changes = [*_words(file.then.set), f"model.detector={json.dumps(str(runs[0].folder / 'best'))}"]
        second = _recipe(texts[file.then.recipe], file.then.recipe, [*changes, *own], messages)
        if second is not None:
            runs.append(PlannedRun(variant.name, seed, _into(second, folder), after=runs[0]))
    return runs


def _into(recipe: Recipe, folder: Path) -> Recipe:
    return replace(recipe, output_dir=str(folder / recipe.task))


def _words(changes: Overrides) -> list[str]:
    """Overrides as on the command line; JSON is YAML, so that lists and mappings pass, too."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()]


def _recipe(text: str, name: str, words: list[str], messages: list[str]) -> Recipe | None:
    try:
        return recipe_from_text(text, words, name)
    except UserError as error:
        first, *rest = str(error).splitlines()
        messages += [f"{name}: {line.strip()}" for line in rest] or [first]
        return None
