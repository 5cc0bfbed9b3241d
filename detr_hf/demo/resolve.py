"""Recipes may say `demo`: the synthetic yard as data, a tiny checkpoint as a pretrained model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.worlds import YARD, seen_wide
from detr_hf.errors import UserError
from detr_hf.recipe import Data, DetectionRecipe, Recipe, Split
from detr_hf.recipe.prepare import PrepareRecipe, PseudoStuff
from detr_hf.recipe.repo_ids import DEMO_MODELS
from detr_hf.run_folder import RECIPE_FILE, RunFolder, single_run

if TYPE_CHECKING:
    from detr_hf.data.bundle import DataBundle
    from detr_hf.data.pipeline import Pipeline
    from detr_hf.teacher import DetrTeacher

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The tiny pretrained segmenter, shipped with the package; `demo` in a recipe or command."""
DEFORMABLE_CHECKPOINT = Path(__file__).parent / "checkpoint_deformable"
"""The tiny pretrained Deformable DETR, boxes alone; `demo-deformable`."""
FOLDERS = dict(zip(DEMO_MODELS, (CHECKPOINT, DEFORMABLE_CHECKPOINT), strict=True))


def resolve_demo(recipe: Recipe) -> Recipe:
    """The same recipe with files and folders in place of `demo`; draws the yard when it is not there yet."""
    if recipe.data.demo is not None:
        recipe = replace(recipe, data=demo_files(recipe.data))
    if isinstance(recipe, DetectionRecipe):
        return replace(recipe, model=replace(recipe.model, pretrained=model_path(recipe.model.pretrained)))
    model = recipe.model
    model = replace(model, detector=model_path(model.detector), mask_head=model_path(model.mask_head))
    return replace(recipe, model=model)


def with_data(recipe: Recipe, folder: Path) -> tuple[Recipe, DataBundle | UserError]:
    """The recipe without `demo` in it, and its data, or why that cannot be read; ``folder`` is the run's."""
    from detr_hf.data.build import build_bundle

    try:
        recipe = resolve_demo(recipe)
        return recipe, build_bundle(recipe.data, folder)
    except UserError as fault:
        return recipe, fault


def model_path(source: str) -> str:
    """The folder of a tiny checkpoint for `demo` and `demo-deformable`, ``best/`` for a run, else as it is.

    Raises:
        UserError: the run has no ``best/`` yet, or it is a folder of several runs.
    """
    run = single_run(Path(source))
    if source in FOLDERS or not (run / RECIPE_FILE).is_file() or (run / "config.json").is_file():
        return str(FOLDERS.get(source, source))
    return str(RunFolder(run).require_best())


def as_written(text: str) -> str:
    """A text for people, with `demo` and `demo-deformable` in place of the folders of their checkpoints."""
    for name, folder in reversed(FOLDERS.items()):  # one path begins with the other
        text = text.replace(str(folder), name)
    return text


def teacher_of(stuff: PseudoStuff) -> DetrTeacher:
    """The panoptic DETR that paints stuff, loaded."""
    from detr_hf.teacher import load_teacher

    return load_teacher(model_path(stuff.teacher), stuff.revision, stuff.short_edge)


def stuff_of_teacher(stuff: PseudoStuff) -> tuple[str, ...]:
    """The stuff classes of that teacher, without its weights."""
    from detr_hf.teacher import stuff_names_of

    return stuff_names_of(model_path(stuff.teacher), stuff.revision)


def pipeline_of(source: Path, out: Path, recipe: PrepareRecipe, strict: bool = False) -> Pipeline:
    """What prepares a data set, with the teacher of its recipe; ``strict`` stops at the first issue."""
    from detr_hf.data.pipeline import Pipeline

    stuff = recipe.pseudo_stuff
    return Pipeline(
        source,
        out,
        recipe,
        load_teacher=partial(teacher_of, stuff),
        strict=strict,
        teacher_files=Path(model_path(stuff.teacher)),
        teacher_stuff=partial(stuff_of_teacher, stuff),
    )


def demo_files(data: Data) -> Data:
    """Draw the yard if need be, and name its files as a COCO panoptic source."""
    assert data.demo is not None
    folder, counts = Path(data.demo.folder), {"train": data.demo.train, "validation": data.demo.validation}
    ensure_dataset(folder, counts, data.demo.seed, seen_wide(YARD, data.demo.scale))
    splits = {name: panoptic_split(folder / name, folder / name / "images") for name in counts}
    return replace(data, demo=None, train=splits["train"], validation=splits["validation"])


def panoptic_split(folder: Path, images: Path) -> Split:
    """A split of a COCO panoptic set in ``folder``."""
    annotations, panoptic = str(folder / "panoptic.json"), str(folder / "panoptic")
    return Split(annotations=annotations, images=str(images), panoptic=panoptic)
