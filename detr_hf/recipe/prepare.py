"""The recipe of `detr-hf prepare`: every setting of the way from a source to a data set."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path as FilePath
from typing import Annotated, Literal

from pydantic import Field

from detr_hf.recipe.fields import AtLeastTwo, Count, InnerShare, Probability, Seed, Text, WholeRecipe, section
from detr_hf.recipe.load import RecipeFormat
from detr_hf.recipe.overrides import Overrides
from detr_hf.recipe.repo_ids import DEMO_MODELS
from detr_hf.recipe.rules import Unused

FewBits = Annotated[int, Field(ge=0, le=5)]


@section
class Reading:
    """How a source is understood; what is said of class folders holds for them alone."""

    format: Text | None = None  # of the source, as in `data.train.format`; null: recognized
    # "outlines": coco.json; "panoptic": annotations/<class>.json; "auto": coco.json where it is there.
    layout: Literal["auto", "outlines", "panoptic"] = "auto"
    # "folder": every thing is of its folder's class, whatever its label was called.
    class_names: Literal["annotations", "folder"] = "annotations"
    # CVAT exports a painted mask as RLE with iscrowd 1; "crowd" takes it by its word, "auto" where such are
    # at most 5 % of a file's objects, as in COCO itself.
    painted_masks: Literal["auto", "objects", "crowd"] = "auto"
    unlisted_images: Literal["drop", "keep"] = "drop"  # images that the annotation file does not list
    empty_images: Literal["keep", "drop"] = "keep"  # listed images without an object
    # Classes of class PNGs whose connected parts are objects; all others are stuff.
    things: list[Text] = field(default_factory=list)
    largest_json_mib: Count = 1024  # reading a JSON file takes several times its size in memory


@section
class PseudoStuff:
    """The teacher that paints the stuff which nobody annotated."""

    enabled: bool = True
    teacher: Text = "facebook/detr-resnet-101-panoptic"  # Hub id or folder; "demo": the one in the package
    revision: Text | None = None  # git revision of `teacher` on the Hub
    # null: stuff keeps the teacher's names; "construction"; a YAML or JSON file: class -> the teacher's names
    mapping: Text | None = None
    short_edge: Count | None = None  # pixels of an image's short edge in the teacher; None: its processor's
    score_threshold: Probability = 0.85
    mask_threshold: Probability = 0.5  # pixels below it stay void


@section
class Splitting:
    """Which images are for validation; duplicates stay together, each class is in both splits."""

    validation_fraction: InnerShare = 0.1
    seed: Seed = 0
    folds: AtLeastTwo | None = None  # K splits for cross-validation instead of one
    duplicate_distance: FewBits = 3  # bits of 64 in which hashes of near duplicates may differ
    keep_own: bool = True  # a source's own training and validation splits stay as they are
    fixed: Text | None = None  # a file that says which image is in which split; it need not name all


@section
class Writing:
    """What is written."""

    copy_images: bool = False  # false: the images stay where they are, and the data set points there
    most_hidden: Probability = 0.9  # share of an object that may lie under others before it is left out
    title: Text | None = None  # of the data set's card; null: from the source's name
    license: Text = "other"  # of the data set's card, as the Hub spells it


@section
class PrepareRecipe(WholeRecipe):
    """From a source to one data set."""

    task: Literal["prepare"] = "prepare"
    num_proc: Count = 4  # processes that open images; the result is the same for any number
    # "construction": its label map where that has every class of the data, and its mapping of stuff.
    preset: Literal["construction"] | None = None
    # null: the one beside the data, else the classes that have segments; "construction"; a label_map.json.
    labels: Text | None = None
    read: Reading = field(default_factory=Reading)
    pseudo_stuff: PseudoStuff = field(default_factory=PseudoStuff)
    split: Splitting = field(default_factory=Splitting)
    write: Writing = field(default_factory=Writing)


UNUSED = (
    Unused(
        lambda recipe: recipe.split.folds is not None,
        "split.folds decides how many images a part holds; remove it (split.validation_fraction=null)",
        ("split.validation_fraction",),
    ),
    Unused(
        lambda recipe: recipe.pseudo_stuff.teacher in DEMO_MODELS,
        "a revision belongs to a model from the Hub; remove it",
        ("pseudo_stuff.revision",),
    ),
    Unused(
        lambda recipe: recipe.labels is not None and recipe.pseudo_stuff.mapping is not None,
        "labels and pseudo_stuff.mapping are both named; remove it",
        ("preset",),
    ),
)
PREPARING = RecipeFormat[PrepareRecipe]({"prepare": PrepareRecipe}, unused=UNUSED)

prepare_recipe_from_text = PREPARING.from_text
prepare_recipe_to_yaml = PREPARING.to_yaml


def load_prepare_recipe(path: str | FilePath | None, overrides: Overrides = ()) -> PrepareRecipe:
    """Read a recipe file (None: all defaults) and apply `key=value` overrides.

    Raises UserError listing every fault, one per line, each under its dotted path.
    """
    if path is None:
        return PREPARING.from_text("task: prepare", overrides, source="the recipe")
    return PREPARING.load(path, overrides)
