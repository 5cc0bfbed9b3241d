"""What a run folder knows of its model, gathered for the card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.hub.data_facts import DataFacts, data_facts
from detr_hf.hub_access import looks_like_a_folder
from detr_hf.labels import LabelMap
from detr_hf.recipe import DetectionRecipe, PanopticRecipe, Recipe, load_recipe
from detr_hf.recipe.replay import RECORD_FILE
from detr_hf.training.checkpoints import METRICS_FILE
from detr_hf.training.setup import ENVIRONMENT_FILE

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


def is_run(folder: Path) -> bool:
    """Whether ``folder`` is that of a run, or a model in one."""
    return any((place / RECORD_FILE).is_file() for place in (folder, folder.parent))


def run_facts(folder: Path, model: Path | None = None) -> RunFacts:
    """Read a run folder, or a model folder in one.

    Args:
        folder: `runs/panoptic` or `runs/panoptic/best`.
        model: a copy of the model to take instead.

    Raises:
        UserError: there is no finished model, or one of its files is missing.
    """
    if not (folder / RECORD_FILE).is_file() and (folder.parent / RECORD_FILE).is_file():
        folder, model = folder.parent, model or folder
    model = model or folder / "best"
    if not (folder / RECORD_FILE).is_file():
        raise UserError(f"{folder}: is no folder of a run; it has no {RECORD_FILE}.")
    if not (model / CONFIG_FILE).is_file():
        raise UserError(f"{folder}: has no {model.name}/{CONFIG_FILE}; has the run evaluated an epoch yet?")
    if not (model / METRICS_FILE).is_file():
        raise UserError(
            f"{model}: has no {METRICS_FILE}, so its card would have no numbers; push the run itself."
        )
    recipe = load_recipe(folder / RECORD_FILE)
    record = folder / ENVIRONMENT_FILE
    return RunFacts(
        folder=folder,
        model=model,
        recipe=recipe,
        results=json.loads((model / METRICS_FILE).read_text(encoding="utf-8")),
        environment=json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {},
        labels=LabelMap.load(model),
        config=json.loads((model / CONFIG_FILE).read_text(encoding="utf-8")),
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
        for place in (Path(source), Path(source).parent):
            if (place / RECORD_FILE).is_file() and deep:
                yield from base_models(load_recipe(place / RECORD_FILE), deep - 1)
                break
