"""The card of a model: `hub_card.md` filled with what its run folder knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from detr_hf import __version__
from detr_hf.errors import quantity
from detr_hf.hub.access import UNSTATED
from detr_hf.hub.facts import RunFacts
from detr_hf.hub.plain_paths import public_recipe, without_paths
from detr_hf.metrics.tables import per_class_table, results_tables
from detr_hf.modeling.threshold_record import read_threshold
from detr_hf.recipe import DetectionRecipe, Hub
from detr_hf.templating import render_markdown

TEMPLATE = Path(__file__).parents[2] / "hub_card.md"
PACKAGED_TEMPLATE = Path(__file__).parent / "hub_card.md"
SHOWN_PICTURES = 4

PIPELINES = {False: "object-detection", True: "image-segmentation"}
"""What the Hub calls the task, by whether the model is of stage 2."""

TAGS = ("detr-hf", "vision")

PQ_PARTS = {"All": "", "Things": " of things", "Stuff": " of stuff"}


def template() -> Path:
    """The card's template, in the checkout or in the installed package."""
    return PACKAGED_TEMPLATE if PACKAGED_TEMPLATE.is_file() else TEMPLATE


def card_text(facts: RunFacts, target: Hub, pictures: Sequence[str] = ()) -> str:
    """README.md of a model.

    Args:
        facts: of its run.
        target: where it goes, and the license.
        pictures: names of picture files that are pushed beside it; the first few are shown.
    """
    recipe, labels, images = facts.recipe, facts.labels, facts.environment.get("images") or {}
    family, best, threshold = facts.family, read_threshold(facts.config), recipe.evaluation.score_threshold
    usual = family.scores.usual_threshold if threshold is None else threshold
    return render_markdown(
        template(),
        metadata=metadata_of(facts, target).to_yaml(),
        version=__version__,
        repo_id=target.repo_id,
        revision=target.revision,
        license=target.license,
        is_panoptic=facts.is_panoptic,
        from_scratch=isinstance(recipe, DetectionRecipe) and recipe.model.scratch,
        base_models=facts.base_models,
        pictures=pictures[:SHOWN_PICTURES],
        labels=labels,
        classes=[[each.id, each.name, labels.kind(each.name)] for each in labels.categories],
        data=facts.data,
        images=images if {"train", "validation"} <= set(images) else None,
        truth=without_paths(facts.data.truth),
        results=results_tables(facts.results),
        results_by_class=per_class_table(facts.results["panoptic" if facts.is_panoptic else "detection"]),
        score_threshold=usual if best is None else best,
        is_best_threshold=best is not None,
        training=_training(facts),
        recipe=public_recipe(recipe),
        family=family,
        tiles=recipe.data.tiles,
        most_objects=family.scores.most_objects(family.num_queries(facts.config)),
    )


def _training(facts: RunFacts) -> list[tuple[str, str]]:
    """What the run did, and on what; only what is known."""
    recipe, ran = facts.recipe, facts.environment
    optim, libraries = recipe.optim, ran.get("libraries") or {}
    rows = [
        (
            "epochs",
            f"{optim.epochs}" + (f", at most {quantity(optim.max_steps, 'step')}" if optim.max_steps else ""),
        ),
        ("chosen", f"epoch {facts.results.get('epoch', '?')}, the best by {recipe.checkpoint.best}"),
        ("images a step", str(optim.batch_size)),
        ("optimizer", f"AdamW, learning rate {optim.lr:g}, {optim.schedule.name} schedule"),
        ("precision", {"no": "float32"}.get(recipe.mixed_precision, recipe.mixed_precision)),
        ("seed", str(recipe.seed)),
        ("hardware", f"{ran['processes']} x {ran['device']}" if "device" in ran else ""),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items() if version)),
        ("commit of detr-hf", ran.get("git_commit") or ""),
    ]
    return [row for row in rows if row[1]]


def metadata_of(facts: RunFacts, target: Hub) -> ModelCardData:
    """License, base model, data and results of a run, as the Hub spells them."""
    bases = list(facts.base_models)
    return ModelCardData(
        license=target.license,
        license_name="unstated" if target.license == UNSTATED else None,
        library_name="transformers",
        pipeline_tag=PIPELINES[facts.is_panoptic],
        base_model=(bases[0] if len(bases) == 1 else bases) or None,
        datasets=[facts.data.hub_id] if facts.data.hub_id else None,
        tags=[facts.family.model_type, *TAGS, *(["panoptic-segmentation"] if facts.is_panoptic else [])],
        model_name=target.repo_id.split("/")[-1],
        eval_results=list(eval_results(facts)),
    )


def eval_results(facts: RunFacts) -> Iterator[EvalResult]:
    """PQ, SQ and RQ of all, things and stuff for stage 2; AP and AR of boxes for both. From 0 to 1."""
    results = facts.results
    if "panoptic" in results:
        for part, words in PQ_PARTS.items():
            for name in ("pq", "sq", "rq"):
                kind = name if part == "All" else f"{name}_{part.lower()}"
                value = results["panoptic"][part][name]
                yield from _result(facts, PIPELINES[True], kind, name.upper() + words, value)
    for name, words in (("AP", "box AP 0.50:0.95"), ("AP50", "box AP 0.50"), ("AR", "box AR 0.50:0.95")):
        yield from _result(facts, PIPELINES[False], name.lower(), words, results["detection"][name])


def _result(facts: RunFacts, task: str, kind: str, name: str, value: Any) -> Iterator[EvalResult]:
    if value is None:  # nothing of the kind in the data
        return
    yield EvalResult(
        task_type=task,
        dataset_type=facts.data.kind,
        dataset_name=facts.data.name,
        dataset_split=facts.data.split,
        metric_type=kind,
        metric_name=name,
        metric_value=round(float(value), 4),
    )
