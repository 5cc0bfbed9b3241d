"""What `detr-hf train WORD` runs, in turn: one recipe, or for a data set both stages as its data allow."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf.errors import UserError
from detr_hf.files import old_of, write_json
from detr_hf.foreign_files import no_such, readable_json
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe, Split, load_recipe, recipe_from_text
from detr_hf.recipe.overrides import with_full_keys
from detr_hf.recipe.rules import UNUSED
from detr_hf.recipe.tree import fields_of, section_at
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml
from detr_hf.run_folder import RunFolder
from detr_hf.targets import target_of

if TYPE_CHECKING:
    from detr_hf.advice.write import Places, Written

ANY_RECIPE = "task: detection\noutput_dir: runs\ndata: {train: data}\noptim: {epochs: 1}\n"
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
    target, overrides = target_of(word), with_full_keys(overrides)
    if target.kind == "recipe":
        return [load_recipe(target.path, overrides)]
    if target.kind == "run":  # where it is now, also if it was moved
        return [load_recipe(target.recipe_file, [f"output_dir={json.dumps(str(target.path))}", *overrides])]
    return _stages(target.path, overrides)


def in_turn(run: Callable[[Recipe], Any], recipes: Iterable[Recipe]) -> None:
    """Train one recipe after the other, all by the same processes."""
    from detr_hf.training.distributed import parting

    with parting():
        for stage, recipe in enumerate(recipes, start=1):
            if stage > 1:
                _say(f"\nstage {stage}: {recipe.output_dir}")
            run(recipe)


def _stages(data: Path, overrides: Sequence[str]) -> list[Recipe]:
    from detr_hf.advice.write import Places, make_recipes, places_for

    given = [text.partition("=")[2] for text in overrides if text.startswith("output_dir=")]
    rest = [text for text in overrides if not text.startswith("output_dir=")]
    _refuse_unknown(rest)
    runs = _folder(given[-1]) if given else places_for(Path("recipe.yaml"), data).runs
    places = Places(runs / "detection.yaml", runs / "panoptic.yaml", runs)
    with _main_process_first():  # the others find it all there
        if places.detection.exists():
            _refuse_other_data(data, places)
            files = (places.detection, places.panoptic)
            texts, written = {file: read_recipe_file(file) for file in files if file.exists()}, None
            _say(f"{places.detection}: written before, taken as it is")
        else:
            written = make_recipes(str(data), places)
            texts = written.texts
        recipes = _with_overrides(texts, rest)
        if written is not None:
            _save(written, data)
        if recipes[0].data.place == str(places.converted) and _is_main_process():
            _convert(data, places, recipes)
    return recipes


def _with_overrides(texts: Mapping[Path, str], overrides: Sequence[str]) -> list[Recipe]:
    """Each stage with the overrides that it knows; of one stage alone with all."""
    (file, text), *panoptic = texts.items()
    known = _known(DetectionRecipe, overrides, set()) if panoptic else overrides
    recipes = [recipe_from_text(text, known, source=str(file))]
    for file, text in panoptic:
        plain = recipe_from_text(text, source=str(file))
        idle = {key for row in UNUSED if row.when(plain) for key in row.keys} | {*BOXES_ALONE}
        recipes.append(recipe_from_text(text, _known(PanopticRecipe, overrides, idle), source=str(file)))
    return recipes


def _save(written: Written, data: Path) -> None:
    from detr_hf.advice.summary import summary

    written.save()
    write_json(written.places.source, {"path": str(data.resolve())})
    _say(summary(written, in_short=True))


def _folder(text: str) -> Path:
    folder, _ = read_yaml(text, "output_dir")
    if not isinstance(folder, str | int | float):
        raise UserError(f"output_dir={text}: is no folder; write the path of one.")
    return Path(str(folder))


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _main_process_first() -> AbstractContextManager[None]:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # without torch
        return nullcontext()
    from detr_hf.training.distributed import main_process_first

    return main_process_first()


def _say(text: str) -> None:
    if _is_main_process():
        print(text, flush=True)


def _refuse_other_data(data: Path, places: Places) -> None:
    """Data sets of one name in two places would share the folder of their runs."""
    named = load_recipe(places.detection).data.train
    place = named.path if named is not None else None
    if place == str(places.converted):
        place = readable_json(places.source).get("path", str(data))
    elif place is not None and not Path(place).exists():
        raise UserError(
            f"{places.detection}: data.train {place}: {no_such(place)}. Start the command in the folder that "
            "it was written from, or give another one for the runs: output_dir=..."
        )
    if place is None or Path(place).resolve() != data.resolve():
        raise UserError(
            f"{places.detection}: was written before for other data ({place or 'see there'}), not for "
            f"{data}. Give another folder, such as output_dir=runs/another, or train that recipe itself."
        )


def _convert(data: Path, places: Places, recipes: Sequence[Recipe]) -> None:
    """Outlines to id maps; anew where the data has changed, unless something made since would be lost."""
    from detr_hf.data.convert import convert, fingerprint
    from detr_hf.data.open_data import open_split
    from detr_hf.data.sources.base import hash_of_folder

    folder, record = places.converted, readable_json(places.source)
    if folder.exists() and "content" not in record:
        _say(f"{folder}: id maps made before; delete the folder if {data} has changed since")
        return
    opened, _ = open_split(Split(path=str(data)), str(data))
    content = fingerprint(opened)
    if folder.exists():
        if content == record["content"]:
            return
        begun = [one.output_dir for one in recipes if RunFolder(Path(one.output_dir)).recipe_file.exists()]
        if begun or hash_of_folder(folder) != record.get("made"):
            why = f"the run {begun[0]} is of these" if begun else "files in it were changed, too"
            raise UserError(
                f"{data}: has changed since its id maps in {folder} were made, and {why}. Train on the data "
                f"as it is now in another folder, such as output_dir={places.runs}-2, or on these id maps: "
                f"`detr-hf train {shlex.quote(str(places.detection))}`"
            )
        _say(f"{data}: has changed; its id maps are made anew")
        shutil.rmtree(old_of(folder), ignore_errors=True)
        folder.rename(old_of(folder))
    record = {"path": str(data.resolve()), "content": content}
    write_json(places.source, record)
    convert(opened, folder, "coco-panoptic")
    shutil.rmtree(old_of(folder), ignore_errors=True)
    write_json(places.source, {**record, "made": hash_of_folder(folder)})


def _known(recipe_type: type, overrides: Sequence[str], idle: set[str]) -> list[str]:
    """The overrides of settings that a stage has and that do something in it."""
    return [text for text in overrides if _has(recipe_type, text) and text.partition("=")[0] not in idle]


def _refuse_unknown(overrides: Sequence[str]) -> None:
    """Before the data is read: settings of neither stage."""
    unknown = [text for text in overrides if not (_has(DetectionRecipe, text) or _has(PanopticRecipe, text))]
    if unknown:
        recipe_from_text(ANY_RECIPE, unknown, source="overrides")


def _has(recipe_type: type, override: str) -> bool:
    path = tuple(override.partition("=")[0].strip().split("."))
    for depth, name in enumerate(path):
        section = section_at(recipe_type, path[:depth])
        if section is None:  # inside a list
            return True
        if name not in fields_of(section):
            return False
    return True
