"""The end of a run: the tables of its best checkpoint and its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from detr_hf.metrics.tables import detection_table, panoptic_table, per_class_table
from detr_hf.modeling.pretrained import load_finished
from detr_hf.training.checkpoints import METRICS_FILE
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
    results = json.loads((best / METRICS_FILE).read_text(encoding="utf-8"))
    run.task.model.load_state_dict(load_finished(str(best)).state_dict())
    run.task.eval()
    folder = run.folder / "pictures"
    pictures = save_pictures(
        run.task, run.validation.dataset, run.truth, folder, settings.pictures, settings.score_threshold
    )
    write_tables(results, run.folder / "results.md")
    print(f"\nBest on the validation split, epoch {results['epoch']}:\n\n{tables(results)}\n")
    print(f"model:              {best}")
    print(f"tables, by class:   {run.folder / 'results.md'}")
    print(f"numbers:            {best / METRICS_FILE}")
    print(f"all epochs:         {run.log.path}")
    print(f"truth | prediction: {folder} ({len(pictures)} pictures)", flush=True)
    return results


def tables(results: dict[str, Any]) -> str:
    """The table of boxes and, for a segmenter, the panoptic one above it."""
    parts = [panoptic_table(results["panoptic"])] if "panoptic" in results else []
    return "\n\n".join([*parts, detection_table(results["detection"])])


def write_tables(results: dict[str, Any], path: Path) -> None:
    """Both tables and the numbers of each class, as Markdown."""
    parts = ["# Results on the validation split", tables(results), "## Boxes by class"]
    parts.append(per_class_table(results["detection"]))
    if "panoptic" in results:
        parts += ["## Segments by class", per_class_table(results["panoptic"])]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
