"""The end of a run: the tables of its best checkpoint and its pictures."""

from __future__ import annotations

from typing import Any

from accelerate.utils import broadcast_object_list

from detr_hf.files import write_text
from detr_hf.foreign_files import read_json
from detr_hf.metrics.tables import results_page, results_tables
from detr_hf.modeling.pretrained import load_finished
from detr_hf.run_folder import METRICS_FILE, PICTURES_FOLDER, RESULTS_FILE
from detr_hf.training.pictures import save_pictures
from detr_hf.training.run import Run


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
    best, settings = run.folder / "best", run.recipe.evaluation
    results = read_json(best / METRICS_FILE, any_number=True)
    run.task.model.load_state_dict(load_finished(str(best)).state_dict())
    run.task.eval()
    folder = run.folder / PICTURES_FOLDER
    pictures = save_pictures(
        run.task, run.validation.dataset, run.truth, folder, settings.pictures, settings.score_threshold
    )
    write_text(run.folder / RESULTS_FILE, results_page(results))
    print(f"\nBest on the validation split, epoch {results['epoch']}:\n\n{results_tables(results)}\n")
    print(f"model:              {best}")
    print(f"tables, by class:   {run.folder / RESULTS_FILE}")
    print(f"numbers:            {best / METRICS_FILE}")
    print(f"all epochs:         {run.log.path}")
    print(f"truth | prediction: {folder} ({len(pictures)} pictures)", flush=True)
    return results
