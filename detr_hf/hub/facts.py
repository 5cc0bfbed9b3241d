"""What a model card says of a run and of its data, and which of their segments a machine drew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from detr_hf.data.card import CARD_FILE, TRUTH_HEADING
from detr_hf.errors import UserError, quantity
from detr_hf.foreign_files import read_json
from detr_hf.hub_access import looks_like_a_folder
from detr_hf.labels import LabelMap
from detr_hf.modeling.families.base import Family
from detr_hf.modeling.families.registry import family_of
from detr_hf.modeling.model_files import load_config
from detr_hf.recipe import Data, DetectionRecipe, PanopticRecipe, Recipe, Split, load_recipe
from detr_hf.recipe.repo_ids import DEMO_MODELS
from detr_hf.run_folder import METRICS_FILE, RunFolder

CONFIG_FILE = "config.json"
PSEUDO_MARK = re.compile(rb'"pseudo"\s*:\s*true')
UNNAMED = "a data set of its maker's own"


@dataclass(frozen=True)
class DataFacts:
    """The data of a run, without a path of anybody's machine.

    Attributes:
        name: for readers.
        hub_id: of a data set on the Hub; None for others.
        kind: as `model-index` calls the data set: its Hub id, or what stands for one.
        split: the one that was scored.
        truth: who drew boxes and masks, a paragraph of Markdown; "" where nothing is known.
    """

    name: str
    hub_id: str | None
    kind: str
    split: str
    truth: str


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
        config: the model's.
        data: where the images came from.
        base_models: ids on the Hub that the weights came from, as far as is known.
    """

    folder: Path
    model: Path
    recipe: Recipe
    results: dict[str, Any]
    environment: dict[str, Any]
    labels: LabelMap
    config: Any
    data: DataFacts
    base_models: tuple[str, ...]

    @property
    def family(self) -> Family:
        """Of the model's network."""
        return family_of(self.config)

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
        config=load_config(str(model)),
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
        if source in (*DEMO_MODELS, "fresh"):
            continue
        if not Path(source).is_dir() and not looks_like_a_folder(source):
            yield source
            continue
        if deep and (found := RunFolder.of_model(Path(source))):
            yield from base_models(load_recipe(found[0].recipe_file), deep - 1)


def data_facts(data: Data) -> DataFacts:
    """What a recipe's section `data` and the cards and files that it names tell."""
    if data.demo is not None:
        truth = "Drawn by a program, which knows every pixel: boxes and masks are exact."
        return DataFacts("detr-hf's synthetic yard", None, "synthetic-yard", "validation", truth)
    if data.dataset is not None:
        return _saved(data, data.dataset)
    files = [split for split in (data.train, data.source, data.validation) if split is not None]
    found = [card for split in files if (card := _card_beside(Path(split.place)))]
    name = _title(found[0]) if found else UNNAMED
    truth = (_truth_of(found[0]) if found else "") or _marks(files)
    scored = "validation" if data.validation else "held-out tenth"
    return DataFacts(name, None, "custom", scored, truth)


def _saved(data: Data, dataset: str) -> DataFacts:
    is_folder = Path(dataset).is_dir() or looks_like_a_folder(dataset)
    card = _card_of(Path(dataset) / CARD_FILE if is_folder else dataset)
    truth = _truth_of(card) if card else ""
    if is_folder:
        return DataFacts(_title(card) if card else UNNAMED, None, "custom", data.validation_split, truth)
    return DataFacts(dataset, dataset, dataset, data.validation_split, truth)


def _card_beside(annotations: Path) -> DatasetCard | None:
    """The card that `detr-hf prepare` wrote one or, with folds, two folders above the annotations."""
    folders = [annotations, annotations.parent] if annotations.is_dir() else annotations.parents[1:3]
    cards = (_card_of(folder / CARD_FILE) for folder in folders)
    return next((card for card in cards if card is not None), None)


def _card_of(source: Path | str) -> DatasetCard | None:
    """A data set's card, of a file or of the Hub; None where there is none."""
    if isinstance(source, Path) and not source.is_file():
        return None
    with suppress(Exception):  # a page that is no card, a Hub that does not answer: then nothing is known
        card = DatasetCard.load(source)
        return card if card.data.get("pretty_name") or card.data.get("task_categories") else None
    return None


def _title(card: DatasetCard) -> str:
    return str(card.data.get("pretty_name") or UNNAMED)


def _truth_of(card: DatasetCard) -> str:
    """The card's own words on who drew the masks; else what its metadata say."""
    if found := re.search(rf"^{re.escape(TRUTH_HEADING)}\n+(.*?)(?=^## |\Z)", card.text, re.M | re.S):
        return found[1].strip()
    creators: Any = card.data.get("annotations_creators") or []
    if "machine-generated" in creators:
        return "Its card says that annotations are **machine-made**, at least in part."
    return ""


def _marks(splits: list[Split]) -> str:
    """How many segments the annotation files mark as pseudo-labeled; "" where none is."""
    count = sum(_marks_in(Path(split.place)) for split in splits)
    if not count:
        return ""
    return (
        f"**Marked as pseudo-labeled: {quantity(count, 'segment')} that a model drew and nobody checked one "
        "by one.** Numbers for these classes measure agreement with that model as much as with the world."
    )


def _marks_in(file: Path) -> int:
    """Counted without reading the file into memory."""
    if not file.is_file() or not file.stat().st_size:
        return 0
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        return sum(1 for _ in PSEUDO_MARK.finditer(content))
