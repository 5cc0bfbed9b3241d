"""The head of a model card: what the Hub reads to list, filter and compare models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from detr_hf.hub.access import Target
from detr_hf.hub.facts import RunFacts

PIPELINES = {False: "object-detection", True: "image-segmentation"}
"""What the Hub calls the task, by whether the model is of stage 2."""

PQ_PARTS = {"All": "", "Things": " of things", "Stuff": " of stuff"}


def metadata_of(facts: RunFacts, target: Target) -> ModelCardData:
    """License, base model, data and results of a run, as the Hub spells them."""
    is_other = target.license == "other"
    bases = list(facts.base_models)
    return ModelCardData(
        license=target.license,
        license_name="unstated" if is_other else None,
        library_name="transformers",
        pipeline_tag=PIPELINES[facts.is_panoptic],
        base_model=(bases[0] if len(bases) == 1 else bases) or None,
        datasets=[facts.data.hub_id] if facts.data.hub_id else None,
        tags=["detr", "detr-hf", "vision", *(["panoptic-segmentation"] if facts.is_panoptic else [])],
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
