"""What a run folder knows of its model, gathered for the card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import read_json
from detr_hf.hub.data_facts import DataFacts, data_facts
from detr_hf.hub_access import looks_like_a_folder
from detr_hf.labels import LabelMap
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe, load_recipe
from detr_hf.run_folder import METRICS_FILE, RunFolder

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class RunFacts:
    """A run and the model of it that is shown.

    Attributes:
        folder: of the run.
        model: the folder of the model in it.
        recipe: as recorded.
        results: of the model on its validation split, as ``best/metrics.json`` has them.
        environment: what the run ran on; empty where it was not recorded.
        labels: the model's classes.
        config: the model's ``config.json``.
        data: where the images came from.
        base_models: ids on the Hub that the weights came from, as far as can be told.
    """

    folder: Path
    model: Path
    recipe: Recipe
    results: dict[str, Any]
    environment: dict[str, Any]
    labels: LabelMap
    config: dict[str, Any]
    data: DataFacts
    base_models: tuple[str, ...]

    @property
    def is_panoptic(self) -> bool:
        """Whether the model is of stage 2."""
        return isinstance(self.recipe, PanopticRecipe)


def run_facts(folder: Path, model: Path | None = None) -> RunFacts:
    """Read a run folder, or a model folder in one.

    Args:
        folder: `runs/panoptic` or `runs/panoptic/best`.
        model: a copy of the model to take instead.

    Raises:
        UserError: there is no finished model, or one of its files is missing.
    """
    run, best = RunFolder.of_model(folder) or (RunFolder.open(folder), folder)  # `open` raises
    model = model or best
    if not (model / CONFIG_FILE).is_file():
        raise UserError(f"{run.path}: has no {model.name}/{CONFIG_FILE}; has the run evaluated an epoch yet?")
    if not (model / METRICS_FILE).is_file():
        raise UserError(
            f"{model}: has no {METRICS_FILE}, so its card would have no numbers; push the run itself."
        )
    recipe = load_recipe(run.recipe_file)
    return RunFacts(
        folder=run.path,
        model=model,
        recipe=recipe,
        results=read_json(model / METRICS_FILE, any_number=True),
        environment=run.environment(),
        labels=LabelMap.load(model),
        config=read_json(model / CONFIG_FILE, any_number=True),
        data=data_facts(recipe.data),
        base_models=tuple(dict.fromkeys(base_models(recipe))),
    )


def base_models(recipe: Recipe, deep: int = 3) -> Iterator[str]:
    """The ids on the Hub that a run's weights came from, through the runs before it that are still there."""
    if isinstance(recipe, DetectionRecipe):
        sources = [] if recipe.model.scratch else [recipe.model.pretrained]
    else:
        sources = [recipe.model.detector, recipe.model.mask_head]
    for source in sources:
        if source in ("demo", "fresh"):
            continue
        if not Path(source).is_dir() and not looks_like_a_folder(source):
            yield source
            continue
        if deep and (found := RunFolder.of_model(Path(source))):
            yield from base_models(load_recipe(found[0].recipe_file), deep - 1)
