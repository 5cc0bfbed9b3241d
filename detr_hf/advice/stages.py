"""What `detr-hf train WORD` runs, in turn: one recipe, or for a data set both stages as its data allow."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.foreign_files import readable_json
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe, Split, load_recipe
from detr_hf.recipe.rules import UNUSED
from detr_hf.recipe.tree import fields_of, section_at
from detr_hf.recipe.yaml_text import read_yaml
from detr_hf.targets import target_of

if TYPE_CHECKING:
    from detr_hf.advice.write import Places

BOXES_ALONE = ("checkpoint.best", "early_stopping.metric")
"""Settings of the boxes' numbers, which a frozen detector does not change."""


def recipes_of(word: str, overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipes to train one after the other.

    Args:
        word: a recipe; the folder of a run, which is resumed; or a data set, for which recipes are written
            into its output folder, once.
        overrides: `key=value`; of a data set, `output_dir` is the folder of both runs, and each stage takes
            those that it knows.

    Raises:
        UserError: the word means nothing, recipe or data have faults, or the recipes that are there are of
            other data.
    """
    target = target_of(word)
    if target.kind == "recipe":
        return [load_recipe(target.path, overrides)]
    if target.kind == "run":  # where it is now, also if it was moved
        return [load_recipe(target.recipe_file, [f"output_dir={json.dumps(str(target.path))}", *overrides])]
    return _stages(target.path, overrides)


def _stages(data: Path, overrides: Sequence[str]) -> list[Recipe]:
    from detr_hf.advice.write import Places, places_for

    given = [text.partition("=")[2] for text in overrides if text.startswith("output_dir=")]
    folder = [str(read_yaml(text, "output_dir")[0]) for text in given]
    rest = [text for text in overrides if not text.startswith("output_dir=")]
    runs = Path(folder[-1]) if folder else places_for(Path("recipe.yaml"), data).runs
    places = Places(runs / "detection.yaml", runs / "panoptic.yaml", runs)
    if places.detection.exists():
        _refuse_other_data(data, places)
        print(f"{places.detection}: written before, taken as it is", flush=True)
    else:
        _write(data, places)
    first = load_recipe(places.detection, _known(DetectionRecipe, rest, set()) + _unknown(rest))
    recipes: list[Recipe] = [first]
    if places.panoptic.exists():
        plain = load_recipe(places.panoptic)
        idle = {key for row in UNUSED if row.when(plain) for key in row.keys}
        recipes.append(load_recipe(places.panoptic, _known(PanopticRecipe, rest, idle | {*BOXES_ALONE})))
    if first.data.train is not None and first.data.train.path == str(places.converted):
        _convert(data, places.converted)
    return recipes


def _write(data: Path, places: Places) -> None:
    from detr_hf.advice.summary import summary
    from detr_hf.advice.write import write_recipes

    _refuse_processes(data)
    written = summary(write_recipes(str(data), places))
    write_json(places.source, {"path": str(data.resolve())})
    print(written, flush=True)


def _refuse_processes(data: Path) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"{data}: is a data set; several processes need its recipes first: "
            f"`detr-hf init {shlex.quote(str(data))}`, then `accelerate launch -m detr_hf.train recipe.yaml`"
        )


def _refuse_other_data(data: Path, places: Places) -> None:
    """Data sets of one name in two places would share the folder of their runs."""
    named = load_recipe(places.detection).data.train
    place = named.path if named is not None else None
    if place == str(places.converted) and places.source.is_file():
        place = readable_json(places.source).get("path")
    if place != str(places.converted) and (place is None or Path(place).resolve() != data.resolve()):
        raise UserError(
            f"{places.detection}: was written before for other data ({place or 'see there'}), not for "
            f"{data}. Give another folder, such as output_dir=runs/another, or train that recipe itself."
        )


def _convert(data: Path, folder: Path) -> None:
    """Outlines to id maps, once."""
    if folder.exists():
        print(f"{folder}: id maps made before; delete the folder if {data} has changed since", flush=True)
        return
    _refuse_processes(data)
    from detr_hf.data.convert import convert
    from detr_hf.data.open_data import open_split

    convert(open_split(Split(path=str(data)), str(data))[0], folder, "coco-panoptic")


def _known(recipe_type: type, overrides: Sequence[str], idle: set[str]) -> list[str]:
    """The overrides of settings that a stage has and that do something in it."""
    return [text for text in overrides if _has(recipe_type, text) and text.partition("=")[0] not in idle]


def _unknown(overrides: Sequence[str]) -> list[str]:
    """Those of neither stage: the first refuses them."""
    return [text for text in overrides if not (_has(DetectionRecipe, text) or _has(PanopticRecipe, text))]


def _has(recipe_type: type, override: str) -> bool:
    path = tuple(override.partition("=")[0].strip().split("."))
    for depth, name in enumerate(path):
        section = section_at(recipe_type, path[:depth])
        if section is None:  # inside a list
            return True
        if name not in fields_of(section):
            return False
    return True
