"""What a study says: means, spreads, and differences to the base, paired by seed, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from textwrap import shorten
from typing import Any

from detr_hf.ablation.state import State, state_of
from detr_hf.ablation.study import BASE, PlannedRun, Study, Variant
from detr_hf.foreign_files import is_finite_number
from detr_hf.report.history import totals
from detr_hf.run_folder import RunFolder

CONFIDENCE = 0.95
MODELS = ("best", "last")
METRICS = (  # name, stage whose run says it, place in its results, whether it is shown in percent
    ("PQ", "panoptic", "panoptic.All.pq", True),
    ("PQ things", "panoptic", "panoptic.Things.pq", True),
    ("PQ stuff", "panoptic", "panoptic.Stuff.pq", True),
    ("box AP", "detection", "detection.AP", False),
    ("box AP50", "detection", "detection.AP50", False),
    ("box AR", "detection", "detection.AR", False),
)
IN_PERCENT = {name for name, _, _, in_percent in METRICS if in_percent}

BySeed = dict[int, float]


@dataclass(frozen=True)
class Difference:
    """Of a variant to the base, over the seeds that both have.

    Attributes:
        mean: of the differences seed by seed.
        low, high: ends of its t interval of 95 %; None for one seed.
        n: seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def verdict(self) -> str:
        """ "better", "worse", "noise" where the interval holds 0, or "one seed"."""
        if self.low is None or self.high is None:
            return "one seed"
        if self.low <= 0 <= self.high:
            return "noise"
        return "better" if self.mean > 0 else "worse"


def difference(values: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """Paired by seed: what a seed does to both, the order of the images above all, cancels."""
    differences = [values[seed] - base[seed] for seed in values if seed in base]
    if not differences:
        return None
    n, middle = len(differences), mean(differences)
    if n == 1:
        return Difference(middle, None, None, n)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return Difference(middle, middle - half, middle + half, n)


@dataclass(frozen=True)
class RunResult:
    """What the folder of a run says: its state, and of a finished one results and costs."""

    run: PlannedRun
    state: State
    results: dict[str, dict[str, Any]]  # by model
    minutes: float | None = None
    memory_mb: float | None = None
    setting: str = ""  # commit and device


def result_of(run: PlannedRun) -> RunResult:
    """Read the folder of a run."""
    state = state_of(run)
    if state.kind != "finished":
        return RunResult(run, state, {})
    folder = RunFolder(run.folder)
    log = folder.log()
    scored = [line for line in log if line.get("kind") == "validation"]
    results = {"best": folder.best_metrics(), "last": scored[-1] if scored else {}}
    sums, facts = totals(log), folder.environment()
    setting = f"commit {facts.get('git_commit')} on {facts.get('device')}"
    return RunResult(run, state, results, sums["minutes"], sums["memory_mb"], setting)


def ablation_numbers(study: Study) -> dict[str, Any]:
    """Everything the study says so far, as ``ablation.json`` holds it.

    Returns:
        "runs": each with its state; "variants": each with scores by model and metric, costs and a sentence;
        "metrics": those that are known, the one that decides first; "notes" on how to read it all.
    """
    found = [result_of(run) for run in study.runs]
    stages = {run.stage for run in study.runs}
    metrics = [row for row in METRICS if row[1] in stages or (row[1] == "detection" and len(stages) == 1)]
    values = {
        (variant.name, model, row[0]): _by_seed(found, variant, model, row, stages)
        for variant in study.variants
        for model in MODELS
        for row in metrics
    }
    names = [row[0] for row in metrics]
    rows = [_variant(study, variant, found, names, values) for variant in study.variants]
    return {
        "title": study.file.title,
        "seeds": study.file.seeds,
        "metrics": names,
        "variants": rows,
        "runs": [_run(one) for one in found],
        "notes": _notes(rows, found, names[0]),
    }


def _by_seed(
    found: Sequence[RunResult],
    variant: Variant,
    model: str,
    row: tuple[str, str, str, bool],
    stages: set[str],
) -> BySeed:
    """One metric of one variant, by seed."""
    _, stage, at, _ = row
    stage = stage if stage in stages else next(iter(stages))  # a study of stage 2 alone has boxes, too
    values = {
        one.run.seed: _look_up(one.results.get(model), at)
        for one in found
        if one.run.variant == variant.name and one.run.stage == stage
    }
    return {seed: float(value) for seed, value in values.items() if is_finite_number(value)}


def _look_up(results: Any, at: str) -> Any:
    for key in at.split("."):
        results = results.get(key) if isinstance(results, Mapping) else None
    return results


def _variant(
    study: Study,
    variant: Variant,
    found: Sequence[RunResult],
    metrics: Sequence[str],
    values: Mapping[tuple[str, str, str], BySeed],
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {model: {} for model in MODELS}
    against: dict[str, Difference | None] = {}
    for model in MODELS:
        for name in metrics:
            by_seed, base = values[variant.name, model, name], values[BASE, model, name]
            gap = None if variant.name == BASE else difference(by_seed, base)
            against[model] = gap if name == metrics[0] else against.get(model)
            scores[model][name] = {
                "n": len(by_seed),
                "mean": mean(by_seed.values()) if by_seed else None,
                "sd": stdev(by_seed.values()) if len(by_seed) > 1 else None,
                "by_seed": {str(seed): value for seed, value in by_seed.items()},
                "difference": gap and {**asdict(gap), "verdict": gap.verdict},
            }
    own = [one for one in found if one.run.variant == variant.name]
    failed = [one for one in own if one.state.kind == "failed"]
    return {
        "name": variant.name,
        "changes": variant.changes,
        "says": variant.said,
        "scores": scores,
        "minutes": _minutes(own, len({run.stage for run in study.runs})),
        "memory_mb": max((one.memory_mb for one in own if one.memory_mb is not None), default=None),
        "failed": len(failed),
        "sentence": _sentence(variant, scores, metrics[0], against, failed),
    }


def _minutes(own: Sequence[RunResult], stages: int) -> float | None:
    """The mean over the seeds, of all stages together."""
    by_seed: dict[int, list[float]] = {}
    for one in own:
        if one.minutes is not None:
            by_seed.setdefault(one.run.seed, []).append(one.minutes)
    whole = [sum(minutes) for minutes in by_seed.values() if len(minutes) == stages]
    return round(mean(whole), 2) if whole else None


def _sentence(
    variant: Variant,
    scores: Mapping[str, Mapping[str, Any]],
    metric: str,
    against: Mapping[str, Difference | None],
    failed: Sequence[RunResult],
) -> str:
    """What a variant is worth, in words."""
    best, gap = scores["best"][metric], against["best"]
    if not best["n"]:
        return f"failed: {shorten(failed[0].state.detail, 160)}" if failed else "no run is finished yet"
    if variant.name == BASE:
        seeds = "one seed" if best["n"] == 1 else f"{best['n']} seeds"
        return f"{metric} {shown(best['mean'], metric)} over {seeds}"
    if gap is None:
        return "no seed is finished both here and in the base"
    said = _judged(gap, metric)
    at_last = against["last"]
    if at_last is not None and at_last.verdict != gap.verdict:
        said += f"; last/: {_judged(at_last, metric)}"
    return f"{metric} {said}"


VERDICTS = {"better": "better", "worse": "worse", "noise": "smaller than the noise"}


def _judged(gap: Difference, metric: str) -> str:
    if gap.verdict == "one seed":
        return f"{signed(gap.mean, metric)}, from one seed, which says nothing of noise"
    wide = "; with 2 seeds the interval is wide" if gap.n == 2 else ""
    return (
        f"{signed(gap.mean, metric)} ({interval(gap.low, gap.high, metric)}): {VERDICTS[gap.verdict]}{wide}"
    )


def shown(value: float | None, metric: str) -> str:
    """A score or a spread: PQ in percent, as its tables have it."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if metric in IN_PERCENT else f"{value:.3f}"


def signed(value: float, metric: str) -> str:
    """A difference with its sign, also where no other digit shows it."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{shown(abs(value), metric)}"


def interval(low: float | None, high: float | None, metric: str) -> str:
    """From where to where; empty where it is not known."""
    return "" if low is None or high is None else f"{signed(low, metric)} to {signed(high, metric)}"


def _run(one: RunResult) -> dict[str, Any]:
    return {
        "variant": one.run.variant,
        "seed": one.run.seed,
        "stage": one.run.stage,
        "folder": str(one.run.folder),
        "state": one.state.kind,
        "detail": one.state.detail,
        "minutes": one.minutes,
        "memory_mb": one.memory_mb,
    }


def _notes(rows: Sequence[Mapping[str, Any]], found: Sequence[RunResult], metric: str) -> list[str]:
    """How to read the table: what is missing, what chance alone does, what cannot be compared."""
    notes = []
    judged = [row["scores"]["best"][metric]["difference"] for row in rows]
    compared = sum(gap is not None and gap["low"] is not None for gap in judged)
    if compared:
        several = f"{compared} variants are" if compared > 1 else "1 variant is"
        notes.append(
            f"{several} compared with the base, each at 95 %: if none did anything, about "
            f"{0.05 * compared:.1f} would still be called better or worse by chance alone, and as many again "
            "on every further metric."
        )
    unfinished = [one for one in found if one.state.kind not in ("finished", "failed")]
    if unfinished:
        notes.append(f"{len(unfinished)} of {len(found)} runs are not finished: this is what stands so far.")
    if failed := [one for one in found if one.state.kind == "failed"]:
        notes.append(f"{len(failed)} of {len(found)} runs failed; the same command tries them again.")
    settings = sorted({one.setting for one in found if one.setting})
    if len(settings) > 1:
        notes.append(f"The runs were not made alike: {'; '.join(settings)}.")
    return notes
