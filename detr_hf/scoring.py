"""What `detr-hf evaluate` scores: which model, on which split of which data, by which recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import readable_json
from detr_hf.labels import LABEL_MAP_FILE
from detr_hf.recipe import Data, Recipe, Split, load_recipe, recipe_from_text
from detr_hf.recipe.repo_ids import DEMO_MODELS
from detr_hf.targets import Target, target_of

VALIDATION = "validation"


@dataclass(frozen=True)
class Scoring:
    """One evaluation.

    Attributes:
        recipe: its `data` has the split to score as the validation split.
        model: folder, Hub id or `demo`.
        out: folder of the numbers.
        of_the_run: whether it is ``best/`` of a run, scored just as the run did.
    """

    recipe: Recipe
    model: str
    out: Path
    of_the_run: bool = False


def scoring_of(
    word: str,
    overrides: Sequence[str] = (),
    model: str | None = None,
    split: str | None = None,
    out: str | None = None,
) -> Scoring:
    """What to score where `word` is a recipe, a run's folder (or a checkpoint in it), or a data set.

    Args:
        word: of a data set, `model` is needed; the recipe of the run that it lies in says how it is scored.
        overrides: `key=value` changes of the recipe.
        model: in place of the run's `best/`.
        split: of the data; None is its validation split, or what a training would hold out.
        out: folder of the numbers; None is the run's, for another split a folder in it.

    Raises:
        UserError: the word means nothing, the recipe has faults, or the model or the split is missing.
    """
    target = target_of(word)
    if target.kind == "data":
        return _of_data(target.path, overrides, model, split, out)
    recipe = load_recipe(target.recipe_file, overrides)
    run = target.path if target.kind == "run" else Path(recipe.output_dir)
    scored = model or str(target.model or run / "best")
    changed = overrides or model or out or split not in (None, VALIDATION)
    of_the_run = target.kind == "run" and not changed and Path(scored) == run / "best"
    return Scoring(_with_split(recipe, split), scored, _out(run, split, out), of_the_run)


def score(scoring: Scoring) -> dict[str, Any]:
    """The numbers, which are also written as ``evaluation.json`` and ``evaluation.md``.

    Raises:
        UserError: the data cannot be read or does not fit the model, or there is no such model.
    """
    from accelerate import Accelerator

    from detr_hf.data.build import build_bundle
    from detr_hf.data.workers import cores
    from detr_hf.demo.resolve import model_path, resolve_demo
    from detr_hf.training.distributed import on_cpu
    from detr_hf.training.finish import evaluate_model

    accelerator = Accelerator(cpu=on_cpu())  # before any other state
    with accelerator.main_process_first():
        recipe = resolve_demo(scoring.recipe)
        data = build_bundle(recipe.data, scoring.out)
    for note in data.notes:  # such as that the model has learned these very images
        accelerator.print(f"  note: {note}")
    model = model_path(scoring.model)
    # The number of workers is the default's, or that of the machine the run was trained on.
    recipe = replace(recipe, data=replace(recipe.data, workers=min(recipe.data.workers, cores())))
    return evaluate_model(recipe, data, model, scoring.out, scoring.of_the_run)


def _of_data(
    path: Path, overrides: Sequence[str], model: str | None, split: str | None, out: str | None
) -> Scoring:
    if model is None:
        raise UserError(
            f"{path}: is a data set; name the model to score on it: --model runs/detection/best "
            "(in Python evaluate(MODEL, DATA))."
        )
    is_local = model not in DEMO_MODELS and Path(model).is_dir()
    found = run if is_local and (run := target_of(model)).kind == "run" else None
    folder = found.model if found is not None and found.model is not None else Path(model)
    data: dict[str, Any] = {"train": {"path": str(path)}}
    if (folder / LABEL_MAP_FILE).is_file():
        data["labels"] = str(folder / LABEL_MAP_FILE)
    recipe = _recipe_of(found, folder, data, overrides)
    where = Path("runs") / f"evaluate-{path.absolute().stem}"
    scored = model if found is None else str(folder)
    return Scoring(_with_split(recipe, split), scored, Path(out) if out else where)


def _recipe_of(found: Target | None, model: Path, data: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """That of the model's run, with other data; without a run, what the model's own files say."""
    if found is not None:
        recipe = load_recipe(found.recipe_file, overrides)
        tiles, workers = recipe.data.tiles, recipe.data.workers
        split = Split(**data.pop("train"))
        return replace(recipe, data=Data(train=split, tiles=tiles, workers=workers, **data))
    config, processor = (readable_json(model / name) for name in ("config.json", "preprocessor_config.json"))
    given = processor.get("size")
    size = given if isinstance(given, dict) else {}
    values: dict[str, Any] = {"output_dir": "runs/evaluate", "data": data, "optim": {"epochs": 1}}
    if isinstance(edge := size.get("shortest_edge"), int):
        resize = {"name": "ShortEdgeResize", "short_edges": [edge], "max_long_edge": size.get("longest_edge")}
        values["transforms"] = {"validation": [resize]}
    if isinstance(tiles := config.get("detr_hf_tiles"), dict):
        data["tiles"] = tiles
    names = config.get("architectures") or [""]
    has_masks = str(names[0]).endswith("ForSegmentation")
    values |= {"task": "panoptic", "model": {"detector": str(model)}} if has_masks else {"task": "detection"}
    return recipe_from_text(json.dumps(values), overrides, source=str(model))


def _with_split(recipe: Recipe, split: str | None) -> Recipe:
    """The recipe with another split of its data as the validation split."""
    data = recipe.data
    if split is None or (split == VALIDATION and data.validation_split == VALIDATION):
        return recipe
    if data.demo is not None or (data.train is not None and data.train.path is None):
        what = "the demo" if data.demo is not None else "a data set that is named by its files"
        raise UserError(
            f"--split {split}: {what} has no further splits; score the data itself: "
            "detr-hf evaluate DATA --model runs/detection/best"
        )
    data = replace(data, validation=None, fold=None, overfit=None, validation_split=split)
    return replace(recipe, data=data)


def _out(run: Path, split: str | None, out: str | None) -> Path:
    if out is not None:
        return Path(out)
    return run if split in (None, VALIDATION) else run / f"evaluate-{split}"
