"""What a report is made from, and every number that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detr_hf import __version__
from detr_hf.labels import LabelMap
from detr_hf.loading.balance import SplitObjects
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.per_image_results import PerImageResults
from detr_hf.modeling.predictions import Prediction
from detr_hf.report.boxes import box_numbers
from detr_hf.report.class_facts import (
    facts_of_classes,
    false_detections,
    gains_of_mending,
    sizes_seen,
    true_objects,
    with_segments,
)
from detr_hf.report.facts import facts_of, read_recipe
from detr_hf.report.history import curves, totals
from detr_hf.report.quality import ImageQuality, qualities
from detr_hf.report.queries import query_numbers
from detr_hf.report.why import hidden_by_threshold, most_worth, reason_of, scores_of, too_short, verdict
from detr_hf.run_folder import METRICS_FILE, RunFolder
from detr_hf.seen_sizes import NetworkInput, network_inputs

ROUNDED = 0.0005  # results are shown with three digits


@dataclass(frozen=True)
class ReportInputs:
    """A finished run as far as it is at hand.

    Attributes:
        folder: of the run, with ``best/``.
        labels: classes of ``best/``.
        score_threshold: above which a box counts for the confusion matrix, the drawings, and in stage 1 for
            the ranking of images; None: the best one, see ``best_threshold``.
        usual_threshold: of the model's predictions, where no F1 is known.
        per_image: results of the evaluation behind ``best/``; None where it could not be had.
        truth: the validation split; None where the data cannot be read.
        faults: by image id, what is wrong with images that ``truth`` is without.
        training_objects: of each class; None where they cannot be counted.
        training: objects of the training images; None as before.
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
    training: SplitObjects | None = None
    segments: Callable[[int], Prediction] | None = None
    notes: tuple[str, ...] = ()


def report_numbers(inputs: ReportInputs) -> tuple[dict[str, Any], list[ImageQuality]]:
    """Every number of the report as plain JSON, and the ranking of the images, the worst first."""
    run = RunFolder(inputs.folder)
    results, lines = run.best_metrics(), run.log()
    recipe, sums = read_recipe(run), totals(lines)
    boxes: dict[str, Any] = {}
    queries: dict[str, Any] | None = None
    why: dict[str, Any] | None = None
    ranked: list[ImageQuality] = []
    threshold = inputs.score_threshold
    if inputs.per_image is not None:
        boxes = box_numbers(inputs.per_image.boxes, inputs.labels, threshold)
        threshold = boxes["score_threshold"]
        used = inputs.usual_threshold if threshold is None else threshold
        ranked = qualities(inputs.per_image, used)
        sizes = {} if inputs.truth is None else inputs.truth.sizes_hw()
        most = None if inputs.training is None else inputs.training.most_in_one_image
        queries = query_numbers(inputs.per_image, inputs.labels, used, sizes, most)
        if inputs.per_image.boxes:
            seen_in = network_inputs_of(recipe, inputs.per_image.stride)
            why = _why(inputs, boxes, results, seen_in, used, too_short(results, sums["steps"]))
    numbers = {
        "run": str(inputs.folder),
        "made_by": f"detr-hf {__version__}",
        "notes": [" ".join(note.split()) for note in (*inputs.notes, *_differences(results, boxes))],
        "score_threshold": inputs.usual_threshold if threshold is None else threshold,
        "results": results,
        "facts": dict(facts_of(run, recipe, sums, results)),
        "totals": sums,
        "recipe": recipe,
        "why": None if why is None else {key: why[key] for key in why if key != "classes"},
        "classes": _classes(inputs, results, {**boxes, "queries": queries}, (why or {}).get("classes") or {}),
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


def network_inputs_of(recipe: dict[str, Any], stride: int | None) -> dict[str, list[NetworkInput]]:
    """How the network sees images of each split; nothing where the recipe or the network is not known."""
    lists = recipe.get("transforms") or {}
    splits = ("train", "validation") if stride is not None else ()
    tile = ((recipe.get("data") or {}).get("tiles") or {}).get("size")
    return {split: network_inputs(lists.get(split) or [], stride or 0, tile) for split in splits}


def _why(
    inputs: ReportInputs,
    boxes: dict[str, Any],
    results: dict[str, Any],
    seen_in: dict[str, list[NetworkInput]],
    score_threshold: float,
    short: dict[str, Any] | None,
) -> dict[str, Any]:
    """Verdict, things to do (of a run that was too ``short`` that alone), and what is known of each class."""
    assert inputs.per_image is not None
    entries, labels, segments = inputs.per_image.boxes, inputs.labels, inputs.per_image.segments
    sizes = {} if inputs.truth is None else inputs.truth.sizes_hw()
    (seen,) = seen_in.get("validation") or (None,)
    objects = true_objects(entries, labels.stuff_ids, score_threshold, sizes, seen)
    best = {name: (found or {}).get("threshold") for name, found in boxes["best_f1"].items()}
    of_boxes = facts_of_classes(objects, labels, seen, inputs.training, score_threshold, best)
    of_segments = with_segments(of_boxes, segments, labels) if segments is not None else None
    facts, what = of_segments or of_boxes, f" with a score above {score_threshold:.2f}"
    judged = facts.values() if short is None else ()
    reasons = [one for fact in judged if (one := reason_of(fact, facts)) is not None]
    predicted_at = inputs.usual_threshold if inputs.score_threshold is None else inputs.score_threshold
    hidden = hidden_by_threshold(boxes["threshold_sweep"], len(objects.classes), predicted_at)
    gains, gains_of = gains_of_mending(entries, labels)
    false = false_detections(entries, labels, score_threshold)
    said_of = {one.name: one.sentence for one in reasons}
    return {
        "score_threshold": score_threshold,
        "network_input": asdict(seen) if seen else None,
        "verdict": verdict(facts, scores_of(results), "" if of_segments else what, gains),
        "things": [short] if short else most_worth(reasons, facts, hidden),
        "gains": gains,
        "by_segments": of_segments is not None,
        "classes": {
            name: {
                "training_images": one.training_images,
                "fates": dict(of_boxes[name].fates),
                "segment_fates": dict(one.fates) if of_segments else None,
                "taken_for": dict(one.taken_for.most_common()),
                "false": false[name],
                "gains": gains_of.get(name),
                **sizes_seen(
                    labels.label2id[name], objects, seen, inputs.training, seen_in.get("train") or []
                ),
                "why": said_of.get(name),
            }
            for name, one in facts.items()
        },
    }


def _classes(
    inputs: ReportInputs,
    results: dict[str, Any],
    boxes: dict[str, Any],
    why: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
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
                **why.get(category.name, {"why": None}),
            }
        )
    return rows
