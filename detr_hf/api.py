"""The package as functions: what `from detr_hf import train, evaluate, predict, prepare` gives.

They do what the commands of the same name do, and raise ``UserError`` with the sentence that those print.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from detr_hf.errors import UserError
from detr_hf.finished_run import Run
from detr_hf.foreign_files import as_path, no_such

if TYPE_CHECKING:
    from detr_hf.inference import ImageInput, Result
    from detr_hf.recipe import Recipe
    from detr_hf.recipe.prepare import PrepareRecipe

NO_GUARD = (
    'put the call below `if __name__ == "__main__":`; where a loading process starts by reading the program '
    "again (macOS, Windows), it must not start the program's work again."
)

Overrides = Mapping[str, Any] | Sequence[str]
"""Settings to change: ``{"optim.lr": 5e-5}``, or ``["optim.lr=5e-5"]`` as on the command line."""


def train(
    source: str | Path | Recipe | Run,
    overrides: Overrides = (),
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    output_dir: str | Path | None = None,
) -> Run:
    """Train to the end, and return the run; of a data set with masks both stages, and the run of the second.

    A run that is there already is resumed, as by the command. The process is left as it was: random
    generators, Accelerate's state and torch's switches are put back, so another call may follow.

    Args:
        source: a data set in any format, for which a recipe is written; a recipe file, or the name of a
            shipped one such as "detection"; a recipe object; or a run or its folder.
        overrides: settings to change, such as ``{"optim.lr": 5e-5}``; ``epochs``, ``batch_size``, ``lr`` and
            ``max_steps`` need no section.
        epochs: short for ``{"optim.epochs": ...}``.
        batch_size: short for ``{"optim.batch_size": ...}``: images of one optimizer step.
        output_dir: folder of the run; of a data set, of the recipes and the runs of both stages.

    Raises:
        UserError: the recipe or the data is wrong; all faults of a recipe at once, before anything is loaded.
        StoppedEarly: Ctrl-C or the time limit; the run is saved, and the same call resumes it.
    """
    _refuse_without_guard("train")
    from detr_hf.recipe import DetectionRecipe, PanopticRecipe
    from detr_hf.recipe.overrides import as_texts, with_full_keys

    shortcuts = {"epochs": epochs, "batch_size": batch_size, "output_dir": output_dir}
    given = {key: value for key, value in shortcuts.items() if value is not None}
    kinds = (DetectionRecipe, PanopticRecipe)
    texts = with_full_keys([*as_texts(overrides, kinds), *as_texts(given, kinds)])
    recipes: list[Recipe]
    if isinstance(source, Run):
        source = source.folder
    if isinstance(source, DetectionRecipe | PanopticRecipe):
        recipes = [source.with_overrides(texts)]
    else:
        from detr_hf.advice.stages import recipes_of

        recipes = recipes_of(str(as_path(source, "train: data set, recipe or run")), texts)
    from detr_hf.train import run
    from detr_hf.training.process_state import kept_process_state

    for recipe in recipes:
        with kept_process_state():
            run(recipe)
    return Run(recipes[-1].output_dir)


def evaluate(
    model: Run | str | Path,
    data: str | Path | None = None,
    split: str | None = None,
    *,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """The numbers of a model, as ``Run.metrics`` has them.

    Args:
        model: a run, its folder, or a model folder; with ``data`` also a Hub id.
        data: a data set to score it on, in any format; None: that of the run.
        split: of the data, such as "test"; None: its validation split, or what a training would hold out.
        out: folder for ``evaluation.json`` and ``evaluation.md``; None: the run's, of another split a folder
            in it, of other data a folder in ``runs``.

    Raises:
        UserError: there is no such model, or the data cannot be read or has other classes.
    """
    _refuse_without_guard("evaluate")
    from detr_hf.scoring import score, scoring_of

    if isinstance(model, Run):
        model.require_best()
    source = str(model.folder if isinstance(model, Run) else as_path(model, "evaluate: model"))
    folder = None if out is None else str(as_path(out, "evaluate: out"))
    if data is None:
        scoring = scoring_of(source, split=split, out=folder)
    else:
        scoring = scoring_of(str(as_path(data, "evaluate: data")), model=source, split=split, out=folder)
    from detr_hf.training.process_state import kept_process_state

    with kept_process_state():
        return score(scoring)


def _refuse_without_guard(name: str) -> None:
    """Raises UserError: called while a new process still reads the program that started it."""
    # What multiprocessing itself asks before it starts a process: `parent_process` is not set yet, and it
    # would refuse processes that a program starts on purpose, such as those of `notebook_launcher`.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(f"{name}: {NO_GUARD}")


@overload
def predict(  # type: ignore[overload-overlap]
    images: ImageInput,
    model: Run | str | Path,
    *,
    score_threshold: float | None = None,
    device: str | None = None,
    batch_size: int = 1,
) -> Result: ...


@overload
def predict(
    images: Iterable[ImageInput],
    model: Run | str | Path,
    *,
    score_threshold: float | None = None,
    device: str | None = None,
    batch_size: int = 1,
) -> list[Result]: ...


def predict(
    images: ImageInput | Iterable[ImageInput],
    model: Run | str | Path,
    *,
    score_threshold: float | None = None,
    device: str | None = None,
    batch_size: int = 1,
) -> Result | list[Result]:
    """What a model finds: one result of one image, a list of several.

    The model is loaded by every call; ``run.predict`` and ``Predictor`` keep it.

    Args:
        images: a file, ``uint8 [H, W, 3]`` RGB or a PIL image; or several of them.
        model: a run, its folder, a model folder, a Hub id, or ``demo``.
        score_threshold: 0 to 1; None: the model's own.
        device: such as "cpu" or "cuda:1"; None: the GPU when there is one.
        batch_size: images in one pass at most.

    Raises:
        UserError: an image cannot be read, or there is no such model.
    """
    from detr_hf.demo.resolve import model_path
    from detr_hf.inference import load_predictor

    if isinstance(model, Run):
        predictor = model.predictor(score_threshold, device)
    else:
        predictor = load_predictor(model_path(str(as_path(model, "predict: model"))), score_threshold, device)
    return predictor.predict(images, batch_size)


def prepare(
    source: str | Path,
    out: str | Path,
    recipe: str | Path | PrepareRecipe | None = None,
    overrides: Overrides = (),
) -> Path:
    """From annotated images in any format to one data set: repaired, completed with stuff, split.

    Args:
        source: class folders, COCO, YOLO, VOC or another format; only read.
        out: folder of the data set; the same call resumes where it was interrupted.
        recipe: a file, an object, or None for the defaults.
        overrides: settings to change, such as ``{"pseudo_stuff.enabled": False}``.

    Returns:
        ``out``, which ``train`` takes; ``prepare_report.md`` in it says what was repaired and dropped.

    Raises:
        UserError: the recipe is wrong, or the source cannot be read.
    """
    from detr_hf.recipe.prepare import PrepareRecipe, load_prepare_recipe

    source, out = as_path(source, "prepare: source"), as_path(out, "prepare: out")
    if isinstance(recipe, PrepareRecipe):
        recipe = recipe.with_overrides(overrides)
    else:
        recipe = load_prepare_recipe(recipe, overrides)
    if not source.exists() and recipe.read.format != "hub":
        raise UserError(f"{source}: {no_such(source)}")
    from detr_hf.demo.resolve import pipeline_of

    pipeline_of(source, out, recipe).run()
    return out
