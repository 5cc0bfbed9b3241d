"""Score a finished model on the validation split of a recipe, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import DetrForSegmentation

from detr_hf.errors import UserError
from detr_hf.files import write_json, write_text
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.tables import results_page
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.pretrained import load_finished, load_processor, refuse_other_labels
from detr_hf.prepare.bundle import DataBundle
from detr_hf.recipe import DetectionRecipe, Recipe
from detr_hf.training.assemble import refuse_unfit, validation_loader
from detr_hf.training.device import set_float32_products
from detr_hf.training.evaluation import evaluate
from detr_hf.training.setup import Task


def evaluate_model(recipe: Recipe, data: DataBundle, model: str, out: Path) -> dict[str, Any]:
    """Evaluate ``model`` (a folder or Hub id) on the recipe's validation split; write the results to ``out``.

    Raises:
        UserError: the model predicts other classes than the data has, or is of the other stage.
    """
    accelerator = Accelerator()
    set_float32_products(recipe.compute.tf32)
    refuse_unfit(recipe, data)
    task = finished_task(recipe, data.labels, model).to(accelerator.device)
    world = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    loader = validation_loader(recipe, data, load_processor(model), **world)
    results = evaluate(accelerator, task, loader, GroundTruth(data.dataset["validation"]))
    if accelerator.is_main_process:
        write_json(out / "evaluation.json", {"model": model, **results})
        write_text(out / "evaluation.md", results_page(results))
    return results


def finished_task(recipe: Recipe, labels: LabelMap, source: str) -> Task:
    """The task of a recipe with the weights of a finished model.

    Raises:
        UserError: the model predicts other classes than ``labels`` has, or is of the other stage.
    """
    model = load_finished(source)
    refuse_other_labels(model.config, source, labels)
    if isinstance(recipe, DetectionRecipe):
        detector = model.detr if isinstance(model, DetrForSegmentation) else model
        return DetectionTask(detector, labels, recipe.loss)
    if not isinstance(model, DetrForSegmentation):
        raise UserError(
            f"{source} holds a detector (stage 1), but the recipe is of stage 2; give a model with masks."
        )
    return PanopticTask(model, labels, recipe.loss, recipe.evaluation, recipe.model.mask_chunk)
