"""What a report is made from, and every number that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detr_hf import __version__
from detr_hf.labels import LabelMap
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.modeling.predictions import Prediction
from detr_hf.report.boxes import box_numbers
from detr_hf.report.facts import facts_of, read_recipe
from detr_hf.report.history import curves, totals
from detr_hf.report.quality import ImageQuality, qualities
from detr_hf.report.queries import query_numbers
from detr_hf.run_folder import METRICS_FILE, RunFolder

ROUNDED = 0.0005  # results are shown with three digits


@dataclass(frozen=True)
class ReportInputs:
    """A finished run as far as it is at hand.

    Attributes:
        folder: of the run, with ``best/``.
        labels: classes of ``best/``.
        score_threshold: above which a box counts for the confusion matrix, the drawings, and in stage 1 for
            the ranking of images; None: the one with the best F1.
        usual_threshold: the recipe's, where no F1 is known.
        per_image: results of the evaluation behind ``best/``; None where it could not be had.
        truth: the validation split; None where the data cannot be read.
        faults: by image id, what is wrong with images that ``truth`` is without.
        training_objects: of each class; None where they cannot be counted.
        most_training_objects: in one image; None as before.
        segments: the prediction of stage 2 for an image id of ``truth``; None where no model is at hand.
        notes: what is missing, and why.
    """

    folder: Path
    labels: LabelMap
    score_threshold: float | None
    usual_threshold: float
    per_image: PerImageResults | None = None
    truth: GroundTruth | None = None
    faults: Mapping[int, str] = field(default_factory=dict)
    training_objects: Sequence[int] | None = None
    most_training_objects: int | None = None
    segments: Callable[[int], Prediction] | None = None
    notes: tuple[str, ...] = ()


def report_numbers(inputs: ReportInputs) -> tuple[dict[str, Any], list[ImageQuality]]:
    """Every number of the report as plain JSON, and the ranking of the images, the worst first."""
    run = RunFolder(inputs.folder)
    results, lines = run.best_metrics(), run.log()
    recipe, sums = read_recipe(run), totals(lines)
    boxes: dict[str, Any] = {}
    queries: dict[str, Any] | None = None
    ranked: list[ImageQuality] = []
    threshold = inputs.score_threshold
    if inputs.per_image is not None:
        boxes = box_numbers(inputs.per_image.boxes, inputs.labels, threshold)
        threshold = boxes["score_threshold"]
        used = inputs.usual_threshold if threshold is None else threshold
        ranked = qualities(inputs.per_image, used)
        sizes = {} if inputs.truth is None else inputs.truth.sizes_hw()
        queries = query_numbers(inputs.per_image, inputs.labels, used, sizes, inputs.most_training_objects)
    numbers = {
        "run": str(inputs.folder),
        "made_by": f"detr-hf {__version__}",
        "notes": [" ".join(note.split()) for note in (*inputs.notes, *_differences(results, boxes))],
        "score_threshold": inputs.usual_threshold if threshold is None else threshold,
        "results": results,
        "facts": dict(facts_of(run, recipe, sums, results)),
        "totals": sums,
        "recipe": recipe,
        "classes": _classes(inputs, results, {**boxes, "queries": queries}),
        **{name: boxes.get(name) for name in ("sizes", "precision_recall", "threshold_sweep", "confusion")},
        "queries": queries,
        "images": [asdict(one) for one in ranked],
        "history": curves(lines),
    }
    return numbers, ranked


def _differences(results: dict[str, Any], boxes: dict[str, Any]) -> list[str]:
    """Where the per-image results do not give the numbers of ``best/``: they were made anew."""
    numbers = results.get("detection") or {}
    pairs = [(name, numbers.get(name), boxes.get(name)) for name in ("AP", "AR")]
    return [
        f"the predictions were made again and give {name} {new:.3f}; best/{METRICS_FILE} says {old:.3f}"
        for name, old, new in pairs
        if old is not None and new is not None and abs(old - new) > ROUNDED
    ]


def _classes(inputs: ReportInputs, results: dict[str, Any], boxes: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a class, in the label map's order."""
    of_boxes = (results.get("detection") or {}).get("per_class") or {}
    of_segments = (results.get("panoptic") or {}).get("per_class") or {}
    counts, best = inputs.training_objects, boxes.get("best_f1") or {}
    serving = (boxes["queries"] or {}).get("classes") or {}
    rows = []
    for category in inputs.labels.categories:
        box, segment = of_boxes.get(category.name) or {}, of_segments.get(category.name) or {}
        rows.append(
            {
                "class": category.name,
                "kind": inputs.labels.kind(category.name),
                "training_objects": None if counts is None else int(counts[category.id]),
                "validation_objects": box.get("objects"),
                **{name: box.get(name) for name in ("AP", "AP50", "AR")},
                **{
                    name.upper(): segment.get(name)
                    for name in ("pq", "sq", "rq", "tp", "fp", "fn")
                    if segment
                },
                "best_f1": (best.get(category.name) or {}).get("f1"),
                "best_threshold": (best.get(category.name) or {}).get("threshold"),
                "queries": serving.get(category.name),
            }
        )
    return rows
