"""What a word of the command line means: a recipe, the folder of a run, or a data set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such, readable_json
from detr_hf.recipe.shipped import LISTED, find_shipped, recipe_names, unknown_recipe
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml
from detr_hf.run_folder import ENVIRONMENT_FILE, LOG_FILE, RunFolder, single_run

Kind = Literal["recipe", "run", "data"]
RECIPE_SUFFIXES = (".yaml", ".yml")
WORDS: dict[Kind, str] = {
    "recipe": "a recipe (a YAML file, or the name of a shipped one such as 'detection')",
    "run": "the folder of a run",
    "data": "a data set (a folder or file of any format)",
}


@dataclass(frozen=True)
class Target:
    """What a word means.

    Attributes:
        path: the recipe's file, the run's folder, or the data set.
        model: of a run, the model folder: `best/`, or the one that was named.
    """

    kind: Kind
    path: Path
    model: Path | None = None

    @property
    def recipe_file(self) -> Path:
        """Of a recipe, itself; of a run, the one that it recorded."""
        assert self.kind != "data"
        return self.path if self.kind == "recipe" else RunFolder(self.path).recipe_file


def target_of(word: str, kinds: Collection[Kind] = ("recipe", "run", "data")) -> Target:
    """What is at a path: a run, a recipe, else data. A name that is no path: a shipped recipe.

    The data set itself is not looked at: the door that opens it says what is wrong with it.

    Args:
        word: of the command line.
        kinds: that have a meaning for the command.

    Raises:
        UserError: there is nothing of this name, or it is of another kind; the message says what was tried.
    """
    if not word.strip():
        raise UserError(f"the name is empty; give {' or '.join(WORDS[kind] for kind in kinds)}.")
    path = Path(word)
    target = _at(path) if path.exists() else None
    if target is not None and target.kind == "data" and (run := single_run(path)) != path:
        target = _at(run)
    if (target is None or target.kind not in kinds) and (shipped := find_shipped(word)) is not None:
        target = Target("recipe", shipped)
    wanted = " or ".join(WORDS[kind] for kind in kinds)
    if target is None:
        key, equals, value = word.partition("=")
        if equals and key.isidentifier():
            meant = f"; did you mean '{value}'?" if Path(value).exists() else "."
            raise UserError(f"{word}: is a setting; before the settings give {wanted}{meant}")
        if path.suffix in RECIPE_SUFFIXES and "recipe" in kinds:
            raise UserError(f"{word}: {unknown_recipe(word)}.")
        nothing = f"{no_such(word, known=recipe_names())} {LISTED}" if "recipe" in kinds else no_such(word)
        raise UserError(f"{word}: {nothing}. Give {wanted}.")
    if target.kind not in kinds:
        raise UserError(f"{word}: is {WORDS[target.kind]}; give {wanted}.")
    return target


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe; the data.yaml of YOLO or of a prepared folder has no task."""
    if path.suffix not in RECIPE_SUFFIXES or not path.is_file():
        return False
    values, _ = read_yaml(read_recipe_file(path), str(path))
    return not isinstance(values, dict) or not {"names", "data"} & set(values) or "task" in values


def _at(path: Path) -> Target:
    if is_recipe(path):
        return Target("recipe", path)
    found = RunFolder.of_model(path) if path.is_dir() else None
    if found is not None and (found[0].path != path or _has_run(found[0])):
        run, model = found
        if run.path == path or readable_json(path / "config.json"):
            return Target("run", run.path, model)
    return Target("data", path)


def _has_run(run: RunFolder) -> bool:
    """Whether something was run there: a data folder, too, may hold a recipe.yaml."""
    traces = (run.path / ENVIRONMENT_FILE, run.path / LOG_FILE, run.best, run.last)
    return any(trace.exists() for trace in traces)
