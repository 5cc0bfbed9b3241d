"""A report for a training that ends, and for a run folder at any later time.

What loads a model is imported where one is needed: a report of a finished run is made from files alone.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.loading.balance import (
    SplitObjects,
    objects_of_classes,
    split_objects,
)
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import PerImageResults, load_per_image, save_per_image
from detr_hf.modeling.predictions import Prediction
from detr_hf.modeling.threshold_record import read_threshold
from detr_hf.recipe import Recipe
from detr_hf.report.drawn_segments import DrawnSegments
from detr_hf.report.inputs import ReportInputs
from detr_hf.report.readable_subset import readable_subset
from detr_hf.report.write import write_report
from detr_hf.run_folder import PER_IMAGE_FILE, RunFolder
from detr_hf.training.fit import refuse_unfit

if TYPE_CHECKING:
    from accelerate import Accelerator

    from detr_hf.modeling.families.base import ImageProcessor
    from detr_hf.modeling.task import Task
    from detr_hf.training.state import Run

MOST_IMAGES = 6
"""Of either end, where nobody asks for more; the recipe's `evaluation.pictures` may ask for fewer."""


def report_finished(run: Run, data: DataBundle) -> None:
    """Report on a run whose task holds its best weights, and say what to do next; the main process does.
    Never raises.

    What the evaluation behind ``best/`` saw is in a file by then, so no image passes the model again but
    those that are drawn.
    """
    from detr_hf.training.engine import predict_one
    from detr_hf.training.next_steps import next_steps

    if not run.accelerator.is_main_process:
        return
    try:
        labels, settings = run.task.labels, run.recipe.evaluation
        folder = RunFolder(run.folder)
        per_image = load_per_image(folder, labels.num_classes)
        rows = run.validation_loader.dataset
        drawn = DrawnSegments(folder, labels, run.truth, lambda row: predict_one(run.task, rows, row))
        inputs = ReportInputs(
            folder=run.folder,
            labels=labels,
            score_threshold=None,
            usual_threshold=_usual_threshold(folder, run.recipe),
            per_image=per_image,
            truth=run.truth,
            training_objects=counted_objects(data),
            training=_objects_of(data),
            segments=drawn,
            notes=()
            if per_image
            else (f"{PER_IMAGE_FILE} is missing: `{command(run.folder)}` makes it again",),
        )
        page = write_report(inputs, min(settings.pictures, MOST_IMAGES))
        drawn.save()
    except Exception as error:  # whatever it is, the run is done and whole
        print(
            f"warning: no report ({type(error).__name__}: {error}). The run is complete; make the report "
            f"with\n  {command(run.folder)}",
            flush=True,
        )
        return
    print(f"report: {page}")
    print_reasons(run.folder)
    print(next_steps(run, data), flush=True)


def report_again(
    folder: Path,
    recipe: Recipe,
    data: DataBundle | UserError,
    score_threshold: float | None = None,
    images: int | None = None,
) -> Path:
    """Report on a run folder; predicts the validation split again where the file of predictions is missing.

    On several processes each predicts its share of the images, and the main one writes.

    Args:
        folder: of the run, with ``best/``.
        recipe: of the run, without `demo` in it.
        data: of the recipe, or why it cannot be read: the report then says so, and shows what can be.
        score_threshold: above which a box counts; None: the best one, see ``best_threshold``.
        images: how many of the worst images to draw, and as many of the best.

    Returns:
        The page.

    Raises:
        UserError: there is no ``best/``, or a file cannot be written.
    """
    run = RunFolder(folder)
    labels = LabelMap.load(run.best)
    notes: list[str] = []
    bundle = _usable(recipe, data, labels, notes)
    per_image = load_per_image(run, labels.num_classes)
    if per_image is None and bundle is not None:
        per_image = _predicted_again(run, recipe, bundle, labels, notes)
    elif per_image is None:
        missing = "is missing or of another evaluation, so nothing is known of single images"
        notes.append(f"{PER_IMAGE_FILE} {missing}")
    faults: dict[int, str] = {}
    if isinstance(data, UserError):
        bundle, faults = readable_subset(recipe.data, labels)
    truth, drawn = None, None
    if bundle is not None:
        truth = GroundTruth(bundle.dataset["validation"])
        drawn = DrawnSegments(run, labels, truth, _predict_rows(run, recipe, bundle, labels))
    inputs = ReportInputs(
        folder=folder,
        labels=labels,
        score_threshold=score_threshold,
        usual_threshold=_usual_threshold(run, recipe),
        per_image=per_image,
        truth=truth,
        faults=faults,
        training_objects=None if bundle is None else counted_objects(bundle),
        training=None if bundle is None else _objects_of(bundle),
        segments=drawn,
        notes=tuple(notes),
    )
    if int(os.environ.get("RANK", 0)):
        return folder
    page = write_report(inputs, min(recipe.evaluation.pictures, MOST_IMAGES) if images is None else images)
    if drawn is not None:
        drawn.save()
    return page


def _usual_threshold(run: RunFolder, recipe: Recipe) -> float:
    """What its model predicts with: the best one, or as the recipe has it, or as is usual in the family."""
    if (best := read_threshold(run.best_config())) is not None:
        return best
    if recipe.evaluation.score_threshold is not None:
        return recipe.evaluation.score_threshold
    from detr_hf.modeling.families.registry import family_of
    from detr_hf.modeling.model_files import load_config

    return family_of(load_config(str(run.best))).scores.usual_threshold


def counted_objects(data: DataBundle) -> list[int] | None:
    """Objects of each class in the training images; None where they only stream by."""
    split = data.dataset.get("train")
    return objects_of_classes(split, data.labels.num_classes).tolist() if isinstance(split, Dataset) else None


def _objects_of(data: DataBundle) -> SplitObjects | None:
    split = data.dataset.get("train")
    return split_objects(split) if isinstance(split, Dataset) else None


def print_reasons(folder: Path) -> None:
    """Print the verdict and the things most worth doing of the report in a run's folder."""
    why = RunFolder(folder).report_numbers().get("why") or {}
    for sentence in why.get("verdict", ()):
        print(f"  {sentence}")
    for at, thing in enumerate(why.get("things", ()), start=1):
        print(f"  {at}. {thing['sentence']}", flush=True)


def command(folder: Path) -> str:
    """What makes the report of a run again."""
    return f"detr-hf report {shlex.quote(str(folder))}"


def _usable(
    recipe: Recipe, data: DataBundle | UserError, labels: LabelMap, notes: list[str]
) -> DataBundle | None:
    """The data where it is there and fits the model; else None, and a note."""
    fault: str | UserError = ""
    if isinstance(data, DataBundle):
        try:
            refuse_unfit(recipe, data)
            if not (other := labels.difference(data.labels)):
                return data
            fault = f"its label map {other}"
        except UserError as unfit:
            fault = unfit
    else:
        fault = data
    notes.append(f"the data cannot be used: {fault}")
    return None


def load_best(run: RunFolder, recipe: Recipe, labels: LabelMap) -> tuple[Accelerator, Task, ImageProcessor]:
    """The model of ``best/`` on its device, and the processor saved with it."""
    from accelerate import Accelerator

    from detr_hf.modeling.model_files import load_processor
    from detr_hf.training.build import finished_task

    accelerator = Accelerator()
    task = finished_task(recipe, labels, str(run.best)).to(accelerator.device).eval()
    return accelerator, task, load_processor(str(run.best))


def _predict_rows(
    run: RunFolder, recipe: Recipe, data: DataBundle, labels: LabelMap
) -> Callable[[int], Prediction]:
    """What ``best/`` predicts for a row of the validation split; the model is loaded for the first one."""

    @cache
    def loaded() -> Callable[[int], Prediction]:
        from detr_hf.training.engine import predict_one
        from detr_hf.training.loaders import build_dataset

        _, task, processor = load_best(run, recipe, labels)
        rows = build_dataset(recipe, data, "validation", processor)
        return lambda index: predict_one(task, rows, index)

    return lambda index: loaded()(index)


def _predicted_again(
    run: RunFolder, recipe: Recipe, data: DataBundle, labels: LabelMap, notes: list[str]
) -> PerImageResults | None:
    """Evaluate ``best/`` anew and keep what was seen; what stands against it is noted."""
    from detr_hf.training.engine import evaluate
    from detr_hf.training.loaders import build_validation_loader

    try:
        accelerator, task, processor = load_best(run, recipe, labels)
        loader = build_validation_loader(recipe, data, processor, accelerator)
        result = evaluate(accelerator, task, loader, GroundTruth(data.dataset["validation"]))
    except UserError as fault:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise  # the others wait for this process's share
        notes.append(f"the images could not be predicted again: {fault}")
        return None
    if result.per_image is not None:  # on the main process
        save_per_image(run, result.per_image)
    return result.per_image
