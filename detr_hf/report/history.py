"""The course of a training, from `metrics.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import median
from typing import Any

from detr_hf.foreign_files import is_finite_number

Points = dict[str, list[list[float]]]
"""Curves by name, each a list of [optimizer step, value]."""

EpochCurve = tuple[list[float], list[float]]
"""Epochs, and a value for each."""

NOT_TERMS = {"loss", "gradient_norm", "data_seconds", "step_seconds", "images_per_second", "memory_mb"} | {
    *("step", "epoch", "bad_samples", "skipped_steps", "loss_auxiliary", "loss_groups")
}
SCORES = (
    *(("panoptic", name, name.upper()) for name in ("pq", "sq", "rq")),
    *(("detection", name, f"box {name}") for name in ("AP", "AP50", "AR")),
)


def curves(lines: list[dict[str, Any]]) -> dict[str, Points]:
    """What there is to draw: "loss", "terms", "scores", "rates", "gradient", "speed", each a set of curves.

    Training curves have a point for every `log_every` steps, or for every epoch where that is more often.
    """
    by_kind = {kind: [line for line in lines if line.get("kind") == kind] for kind in ("step", "train")}
    steps = max(by_kind.values(), key=len)
    terms = sorted(
        {name for line in steps for name, value in line.items() if is_finite_number(value)} - NOT_TERMS
    )
    groups = sorted({name for line in steps for name in _mapping(line.get("lr"))})
    rates = {
        group: _points(steps, lambda line, name=group: _mapping(line.get("lr")).get(name)) for group in groups
    }
    validation = [line for line in lines if line.get("kind") == "validation"]
    scores = {
        title: _points(validation, lambda line, at=(part, key): _score(line, *at))
        for part, key, title in SCORES
    }
    return {
        "loss": _filled({"loss": _column(steps, "loss")}),
        "terms": _filled({term: _column(steps, term) for term in terms}),
        "scores": _filled(scores),
        "rates": _merged(_filled(rates)),
        "gradient": _filled({"gradient norm": _column(steps, "gradient_norm")}),
        "speed": _filled({"images a second": _column(steps, "images_per_second")}),
    }


def totals(lines: list[dict[str, Any]]) -> dict[str, float | int | None]:
    """Sums over the training, None where the log does not say.

    Returns:
        "epochs", "steps"; "minutes" of optimizer steps (evaluations, saving and the start not counted);
        "images_per_second", the median over epochs; "memory_mb", the most; "bad_samples", "skipped_steps".
    """
    epochs = [line for line in lines if line.get("kind") == "train" and is_finite_number(line.get("step"))]
    seconds, before = 0.0, 0
    for line in epochs:
        if is_finite_number(line.get("step_seconds")):
            seconds += (line["step"] - before) * line["step_seconds"]
        before = line["step"]
    speeds = [line["images_per_second"] for line in epochs if is_finite_number(line.get("images_per_second"))]
    memory = [line["memory_mb"] for line in epochs if is_finite_number(line.get("memory_mb"))]
    return {
        "epochs": epochs[-1].get("epoch") if epochs else None,
        "steps": epochs[-1]["step"] if epochs else None,
        "minutes": round(seconds / 60, 2) if seconds else None,
        "images_per_second": median(speeds) if speeds else None,
        "memory_mb": max(memory, default=None),
        "bad_samples": sum(int(line.get("bad_samples") or 0) for line in epochs),
        "skipped_steps": int(epochs[-1].get("skipped_steps") or 0) if epochs else 0,
    }


def _column(lines: Iterable[dict[str, Any]], name: str) -> list[list[float]]:
    return _points(lines, lambda line: line.get(name))


def _points(lines: Iterable[dict[str, Any]], value_of: Any) -> list[list[float]]:
    pairs = ((line["step"], value_of(line)) for line in lines)
    return [[step, value] for step, value in pairs if is_finite_number(value)]


def _score(line: dict[str, Any], part: str, name: str) -> Any:
    values = _mapping(line.get(part))
    return _mapping(values.get("All")).get(name) if part == "panoptic" else values.get(name)


def _filled(points: Points) -> Points:
    return {name: curve for name, curve in points.items() if curve}


def _merged(points: Points) -> Points:
    """Curves that are the same under one name: weight decay splits every group of rates in two."""
    names: dict[str, list[str]] = {}
    for name, curve in points.items():
        names.setdefault(json.dumps(curve), []).append(name.removesuffix(", no decay"))
    return {" = ".join(dict.fromkeys(group)): json.loads(curve) for curve, group in names.items()}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def epoch_curves(lines: list[dict[str, Any]]) -> tuple[dict[str, EpochCurve], dict[str, EpochCurve]]:
    """Losses (the whole and its terms) and scores, each as epochs and a value for each."""
    training = [line for line in lines if line.get("kind") == "train"]
    validation = [line for line in lines if line.get("kind") == "validation"]
    terms = sorted({name for line in training for name in line if name.startswith("loss_")} - NOT_TERMS)
    losses = {name: _by_epoch(training, lambda line, name=name: line.get(name)) for name in ("loss", *terms)}
    scores = {
        title: _by_epoch(validation, lambda line, at=(part, key): _score(line, *at))
        for part, key, title in SCORES
    }
    return _drawable(losses), _drawable(scores)


def _drawable(curves: dict[str, EpochCurve]) -> dict[str, EpochCurve]:
    return {name: curve for name, curve in curves.items() if curve[0]}


def _by_epoch(lines: list[dict[str, Any]], value_of: Any) -> EpochCurve:
    """Of an epoch that was logged twice, by a run that was resumed, the later line counts."""
    values = {line["epoch"]: value_of(line) for line in lines if is_finite_number(line.get("epoch"))}
    known = {epoch: value for epoch, value in values.items() if is_finite_number(value)}
    return list(known), list(known.values())
