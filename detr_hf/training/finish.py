"""The numbers and the images of a finished model: at the end of a run, or at any later time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import quantity
from detr_hf.files import unwritable, write_json, write_text
from detr_hf.foreign_files import harmless_name, read_json
from detr_hf.images import decode_image, save_image
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import load_per_image
from detr_hf.metrics.tables import results_page, results_tables
from detr_hf.modeling.model_files import load_processor
from detr_hf.modeling.pretrained import load_finished
from detr_hf.modeling.task import PanopticTask
from detr_hf.recipe import Recipe
from detr_hf.run_folder import LOG_FILE, METRICS_FILE, PICTURES_FOLDER, RESULTS_FILE, RunFolder
from detr_hf.training.build import finished_task, pq_backend_of
from detr_hf.training.distributed import set_float32_products
from detr_hf.training.engine import evaluate, predict_one
from detr_hf.training.family_defaults import score_threshold_of
from detr_hf.training.fit import refuse_unfit
from detr_hf.training.loaders import build_validation_loader
from detr_hf.training.state import Run
from detr_hf.training.threshold import choose_threshold, keep_threshold
from detr_hf.visualize.panoptic import draw_prediction
from detr_hf.visualize.sheets import contact_sheet
from detr_hf.visualize.truth import draw_truth


def finish(run: Run) -> dict[str, Any]:
    """Print and save what ``best/`` reached on the validation split, and draw its predictions.

    Returns:
        The results of the best checkpoint, as ``evaluate`` gave them.
    """
    shared: list[Any] = [_finish_on_main(run) if run.accelerator.is_main_process else None]
    broadcast_object_list(shared)
    run.log.close()
    return shared[0]


def _finish_on_main(run: Run) -> dict[str, Any]:
    best, folder = run.folder / "best", run.folder / PICTURES_FOLDER
    results = read_json(best / METRICS_FILE, any_number=True)
    run.task.model.load_state_dict(load_finished(str(best)).state_dict())
    run.task.eval()
    per_image = load_per_image(RunFolder(run.folder), run.task.labels.num_classes)
    threshold = choose_threshold(run.task, run.validation_loader.dataset, run.truth, per_image)
    images = save_images(run, folder, threshold)
    write_text(run.folder / RESULTS_FILE, results_page(results))
    print(f"\nBest on the validation split, epoch {results['epoch']}:\n\n{results_tables(results)}\n")
    print(f"model: {best}")
    keep_threshold(best, threshold)
    print(
        f"also written: {RESULTS_FILE} (each class), {LOG_FILE} (every epoch), {PICTURES_FOLDER}/ "
        f"({quantity(len(images), 'image')}, truth | prediction)",
        flush=True,
    )
    return results


def save_images(run: Run, folder: Path, score_threshold: float | None = None) -> list[Path]:
    """Draw the first images of the validation split, truth at the left and prediction at the right.

    Args:
        run: its task in eval mode.
        folder: made when missing; one JPEG an image. Those of an earlier run are removed.
        score_threshold: of the boxes of stage 1; None: the recipe's. Segments are those that PQ counted.

    Raises:
        UserError: it cannot be written to.
    """
    with unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    task, dataset = run.task, run.validation_loader.dataset
    threshold = score_threshold_of(run.recipe, task.family) if score_threshold is None else score_threshold
    paths = []
    for index in range(min(run.recipe.evaluation.pictures, dataset.rows.num_images)):
        predicted = predict_one(task, dataset, index)
        row = run.truth.row(predicted.image_id)
        image = decode_image(row["image"])
        left = draw_truth(image, row["image_id"], run.truth, task.labels, isinstance(task, PanopticTask))
        right = draw_prediction(image, predicted, task.labels, threshold)
        path = folder / f"{index:03d}_{harmless_name(Path(row['file_name']).stem)}.jpg"
        save_image(contact_sheet([left, right], columns=2, titles=["truth", "prediction"]), path)
        paths.append(path)
    for outdated in set(folder.glob("[0-9][0-9][0-9]_*.jpg")) - set(paths):  # of other weights, or other data
        outdated.unlink()
    return paths


def evaluate_model(
    recipe: Recipe, data: DataBundle, model: str, out: Path, choose: bool = False
) -> dict[str, Any]:
    """Evaluate ``model`` (a folder or Hub id) on the recipe's validation split; write the results to ``out``.

    Args:
        choose: choose the score threshold of the model anew, too, and write it into its folder.

    Raises:
        UserError: the model predicts other classes than the data has, or is of the other stage.
    """
    accelerator = Accelerator()
    set_float32_products(recipe.compute.tf32)
    refuse_unfit(recipe, data)
    task = finished_task(recipe, data.labels, model).to(accelerator.device)
    loader = build_validation_loader(recipe, data, load_processor(model), accelerator)
    truth = GroundTruth(data.dataset["validation"])
    found = evaluate(accelerator, task, loader, truth, pq_backend=pq_backend_of(recipe))
    results = found.metrics
    if accelerator.is_main_process:
        if choose:
            keep_threshold(Path(model), choose_threshold(task, loader.dataset, truth, found.per_image))
        write_json(out / "evaluation.json", {"model": model, **results})
        write_text(out / "evaluation.md", results_page(results))
    return results
