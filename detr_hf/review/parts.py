"""What is reviewed: images with their annotations as they are now, and what a run finds in each.

A detector's detections are read from the file that its evaluation left; torch is imported where images have
to pass a model again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle
from detr_hf.data.open_data import open_data
from detr_hf.data.sources.base import Source
from detr_hf.data.sources.splits import TRAIN, VALIDATION
from detr_hf.demo.resolve import resolve_demo
from detr_hf.errors import UserError, quantity
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import load_per_image
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Prediction
from detr_hf.recipe import PanopticRecipe, Recipe, load_recipe
from detr_hf.review.evidence import Evidence, evidence_of_boxes, evidence_of_segments
from detr_hf.run_folder import RunFolder
from detr_hf.training.fit import refuse_unfit


@dataclass(frozen=True)
class Part:
    """Images of one source.

    Attributes:
        name: of the split, or of the run that validated on it.
        source: which gives the images and all that is annotated in them.
        beside: the label map that lies beside the data, if any.
        truth: of the images that can be used.
        labels: classes of ``truth`` and ``evidence``.
        evidence: of the images that were judged.
        judges: folder of the run that judged an image, by its id.
    """

    name: str
    source: Source
    beside: LabelMap | None
    truth: GroundTruth
    labels: LabelMap
    evidence: list[Evidence]
    judges: dict[int, str]

    @property
    def unjudged(self) -> int:
        """Images that no run saw, as after a change of the data since."""
        return len(self.truth.row_of) - len(self.judges)


def validation_part(run: Path, out: Path, name: str = VALIDATION) -> Part:
    """The validation split of a run, judged by its ``best/``, which has not learned from it.

    Raises:
        UserError: the run has no ``best/``, or its data cannot be read, or has other classes by now.
    """
    recipe = resolve_demo(load_recipe(_finished(run).recipe_file))
    bundle = build_bundle(recipe.data, out)
    return _part(name, recipe, bundle, bundle.dataset["validation"], [run])


def training_part(runs: Sequence[Path], out: Path) -> Part:
    """The training split, judged by runs that each left out a part of it.

    Args:
        runs: with ``data.fold`` in their recipes.
        out: folder for what was found in the data.
    """
    fold = resolve_demo(load_recipe(_finished(runs[0]).recipe_file))
    bundle = build_bundle(fold.data, out)  # its two splits are all training images
    everything = datasets.concatenate_datasets([bundle.dataset[split] for split in ("train", "validation")])
    return _part(TRAIN, fold, bundle, everything, runs)


def learned_part(run: Path, out: Path) -> Part:
    """The training split, judged by the model that was trained on it."""
    recipe = resolve_demo(load_recipe(_finished(run).recipe_file))
    bundle = build_bundle(recipe.data, out)
    if bundle.stream is not None:
        raise UserError("--split train: the training images are a stream, which cannot be reviewed")
    return _part(TRAIN, recipe, bundle, bundle.dataset["train"], [run], is_validation=False)


def _finished(run: Path) -> RunFolder:
    found = RunFolder.open(run)
    if not found.best.is_dir():
        raise UserError(f"{run}: has no best/ yet; the first evaluation of a run writes it.")
    return found


def _part(
    name: str,
    recipe: Recipe,
    bundle: DataBundle,
    rows: datasets.Dataset,
    runs: Sequence[Path],
    is_validation: bool = True,
) -> Part:
    """The rows with what each run found in those that are its own to judge."""
    refuse_unfit(recipe, bundle)
    opened = open_data(recipe.data)
    role = VALIDATION if name != TRAIN and VALIDATION in opened.splits else TRAIN
    truth, evidence, judges = GroundTruth(rows), [], {}
    for run in map(_finished, runs):
        labels = LabelMap.load(run.best)
        if other := labels.difference(bundle.labels):
            raise UserError(f"{run.path}: its model was trained on other classes than the data has: {other}")
        of_run = load_recipe(run.recipe_file)
        for found in _predictions(run, resolve_demo(of_run), bundle, rows, is_validation):
            if found.image_id in truth.row_of and found.image_id not in judges:
                evidence.append(_evidence(found, truth, of_run))
                judges[found.image_id] = str(run.path)
    if not judges:
        raise UserError(f"{name}: none of the images was judged by {', '.join(map(str, runs))}")
    return Part(name, opened.splits[role], opened.labels, truth, bundle.labels, evidence, judges)


def _evidence(found: Prediction, truth: GroundTruth, recipe: Recipe) -> Evidence:
    boxes = truth.detection(found.image_id)
    if not isinstance(found, PanopticPrediction):
        return evidence_of_boxes(found, boxes)
    threshold = recipe.evaluation.score_threshold  # runs record it; one by hand may not
    merged = min((one.score for one in found.segments), default=1.0) if threshold is None else threshold
    return evidence_of_segments(found, boxes, truth.panoptic(found.image_id), merged)


def _predictions(
    run: RunFolder, recipe: Recipe, bundle: DataBundle, rows: datasets.Dataset, is_validation: bool
) -> Iterator[Prediction]:
    """What ``best/`` finds in the rows that it validated on, or in all of them."""
    kept = load_per_image(run, bundle.labels.num_classes) if is_validation else None
    if kept is not None and not isinstance(recipe, PanopticRecipe):
        for entry in kept.boxes:
            boxes = boxes_xywh_to_xyxy(entry.content.boxes).astype("float32")
            yield Detections(
                entry.image_id, boxes, entry.content.scores.astype("float32"), entry.content.labels
            )
        return
    if is_validation and recipe.data.fold is not None:
        own = set(build_bundle(recipe.data, run.path).dataset["validation"]["image_id"])
        rows = rows.select([at for at, number in enumerate(rows["image_id"]) if number in own])
    yield from predict(run, recipe, bundle, rows)


def predict(
    run: RunFolder, recipe: Recipe, bundle: DataBundle, rows: datasets.Dataset
) -> Iterator[Prediction]:
    """What ``best/`` finds in any rows, seen as in validation: in tiles, where the run is."""
    from detr_hf.progress import progress
    from detr_hf.training.engine import predict_batches
    from detr_hf.training.loaders import build_validation_loader
    from detr_hf.training.report_run import load_best

    accelerator, task, processor = load_best(run, recipe, bundle.labels)
    shown = DataBundle(datasets.DatasetDict({"validation": rows}), bundle.labels, bundle.is_panoptic)
    loader = build_validation_loader(recipe, shown, processor, accelerator)
    batches: Any = progress(loader, len(loader), f"{quantity(len(rows), 'image')} by {run.path}")
    yield from predict_batches(task, loader.dataset, batches)
