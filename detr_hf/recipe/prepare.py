"""The recipe of `detr-hf prepare`: every setting of the way from raw exports to a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from detr_hf.errors import UserError
from detr_hf.recipe.faults import Fault, schema_fault, told, wrong_choice
from detr_hf.recipe.overrides import apply_overrides
from detr_hf.recipe.schema import Count, InnerShare, Probability, Seed, Text, section
from detr_hf.recipe.tree import plain
from detr_hf.recipe.yaml_text import read_recipe_file, read_yaml, write_yaml

AtLeastTwo = Annotated[int, Field(ge=2)]
FewBits = Annotated[int, Field(ge=0, le=5)]


@section
class Reading:
    """How the raw class folders are understood."""

    # "outlines": coco.json; "panoptic": annotations/<class>.json; "auto": coco.json where it is there.
    layout: Literal["auto", "outlines", "panoptic"] = "auto"
    # "folder": every thing is of its folder's class, whatever its label was called.
    class_names: Literal["annotations", "folder"] = "annotations"
    # CVAT exports a painted mask as RLE with iscrowd 1; "crowd" takes it by its word.
    painted_masks: Literal["objects", "crowd"] = "objects"
    unlisted_images: Literal["drop", "keep"] = "drop"  # pictures that the annotation file does not list
    empty_images: Literal["keep", "drop"] = "keep"  # listed pictures without an object
    largest_json_mib: Count = 1024  # reading a JSON file takes several times its size in memory


@section
class PseudoStuff:
    """The teacher that paints the stuff which nobody annotated."""

    enabled: bool = True
    teacher: Text = "facebook/detr-resnet-101-panoptic"  # Hub id or folder; "demo": the one in the package
    revision: Text | None = None  # git revision of `teacher` on the Hub
    mapping: Text = "construction"  # or a YAML or JSON file: class -> names of the teacher's stuff
    short_edge: Count | None = None  # pixels of a picture's short edge in the teacher; None: its processor's
    score_threshold: Probability = 0.85
    mask_threshold: Probability = 0.5  # pixels below it stay void


@section
class Splitting:
    """Which pictures are for validation; duplicates stay together, each class is in both splits."""

    validation_fraction: InnerShare = 0.1
    seed: Seed = 0
    folds: AtLeastTwo | None = None  # K splits for cross-validation instead of one
    duplicate_distance: FewBits = 3  # bits of 64 in which hashes of near duplicates may differ
    fixed: Text | None = None  # a file that says which picture is in which split; it need not name all


@section
class Writing:
    """What is written."""

    copy_images: bool = False  # false: the pictures stay in the raw folder, and the data set points there
    most_hidden: Probability = 0.9  # share of an object that may lie under others before it is left out
    title: Text = "Construction photographs with panoptic masks"  # of the data set's card
    license: Text = "other"  # of the data set's card, as the Hub spells it


@section
class PrepareRecipe:
    """From raw class folders to one data set."""

    task: Literal["prepare"] = "prepare"
    num_proc: Count = 4  # processes that open pictures; the result is the same for any number
    labels: Text | None = (
        None  # None: the preset when it fits, else the data's; "construction"; a label_map.json
    )
    read: Reading = field(default_factory=Reading)
    pseudo_stuff: PseudoStuff = field(default_factory=PseudoStuff)
    split: Splitting = field(default_factory=Splitting)
    write: Writing = field(default_factory=Writing)


def load_prepare_recipe(path: str | FilePath | None, overrides: Sequence[str] = ()) -> PrepareRecipe:
    """Read a recipe file (None: all defaults) and apply `key=value` overrides.

    Raises UserError listing every fault, one per line, each under its dotted path.
    """
    if path is None:
        return prepare_recipe_from_text("task: prepare", overrides, source="the recipe")
    return prepare_recipe_from_text(read_recipe_file(path), overrides, source=str(path))


def prepare_recipe_from_text(
    text: str, overrides: Sequence[str] = (), source: str = "recipe"
) -> PrepareRecipe:
    """As `load_prepare_recipe`, from YAML text; `source` names it in the messages."""
    written, faults = read_yaml(text, source)
    if not isinstance(written, dict):
        raise UserError(f"{source}: a recipe is a list of `name: value` lines, starting with `task: prepare`")
    faults += apply_overrides(written, overrides, PrepareRecipe)
    if written.get("task") != "prepare":
        faults.append(Fault(("task",), wrong_choice(written.get("task"), ["prepare"])))
    recipe, more = _validated(written | {"task": "prepare"})
    faults += [fault for fault in more if fault.path not in {known.path for known in faults}]
    faults += _rules(recipe, written) if recipe is not None else []
    if faults or recipe is None:
        raise UserError(told(faults, source))
    return recipe


def prepare_recipe_to_yaml(recipe: PrepareRecipe) -> str:
    """The recipe as YAML text that `load_prepare_recipe` reads back to an equal recipe."""
    values: dict[str, Any] = plain(recipe)
    for name, part in values.items():
        if isinstance(part, dict):
            values[name] = {key: value for key, value in part.items() if value is not None}
    if recipe.split.folds is not None:
        values["split"].pop("validation_fraction")
    return write_yaml({name: value for name, value in values.items() if value is not None})


def _validated(written: dict[str, Any]) -> tuple[PrepareRecipe | None, list[Fault]]:
    """Through JSON: only there does pydantic's strict mode take dicts for dataclasses."""
    try:
        return TypeAdapter(PrepareRecipe).validate_json(json.dumps(written)), []
    except ValidationError as error:
        return None, [schema_fault(item, PrepareRecipe) for item in error.errors(include_url=False)]


def _rules(recipe: PrepareRecipe, written: dict[str, Any]) -> list[Fault]:
    """Settings that would do nothing in this run; those of pseudo-labels rest openly when not enabled."""
    faults = []
    split = written.get("split") or {}
    if split.get("validation_fraction") is not None and recipe.split.folds is not None:
        message = (
            "does nothing here: split.folds decides how many pictures a part holds; remove it "
            "(split.validation_fraction=null)"
        )
        faults.append(Fault(("split", "validation_fraction"), message))
    if recipe.pseudo_stuff.teacher == "demo" and recipe.pseudo_stuff.revision is not None:
        message = "does nothing here: a revision belongs to a model from the Hub; remove it"
        faults.append(Fault(("pseudo_stuff", "revision"), message))
    return faults
