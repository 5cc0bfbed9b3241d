"""Run one case: both sides in turn, medians, ratios and the largest difference."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.cases import EPOCHS, SIDES
from benchmarks.child import Child
from benchmarks.differences import relative_differences
from benchmarks.machine import machine_facts
from benchmarks.settings import Settings


def compare(case: str, settings: Settings) -> dict[str, Any]:
    """Both sides of a case, as written to JSON.

    Returns:
        ``case``; ``ours`` and ``stock``, each with ``seconds`` (median) and ``peak_mb``;
        ``time_ratio`` and ``memory_ratio`` (stock / ours); ``max_relative_difference``, ``compared`` (how
        many tensors) and ``differences`` (the five largest by name); ``variants`` (median seconds by name,
        then side); ``facts`` (a list with ``side``, ``variant`` and what the side tells); ``settings``;
        ``machine``.

    Raises:
        ChildError: a side could not do its work.
    """
    machine = machine_facts()
    with ExitStack() as stack:
        children = {side: stack.enter_context(Child(case, side, settings)) for side in SIDES}
        variants = {side: child.ready() for side, child in children.items()}
        first = {side: child.first_run() for side, child in children.items()}
        seconds, others = take_turns(children, variants, 1 if case in EPOCHS else settings.repeats)
        facts = {side: child.facts for side, child in children.items()}
    differences = relative_differences(first["ours"][1], first["stock"][1])
    ours, stock = ({"seconds": seconds[side], "peak_mb": first[side][0]} for side in SIDES)
    return {
        "case": case,
        "ours": ours,
        "stock": stock,
        "time_ratio": stock["seconds"] / ours["seconds"],
        "memory_ratio": stock["peak_mb"] / ours["peak_mb"],
        "max_relative_difference": max(differences.values()),
        "compared": len(differences),
        "differences": dict(sorted(differences.items(), key=lambda item: -item[1])[:5]),
        "variants": others,
        "facts": _facts(facts, seconds, others),
        "settings": asdict(settings),
        "machine": machine,
    }


def take_turns(
    children: dict[str, Child], variants: dict[str, list[str]], repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Median seconds of the case by side, and of the variants by name and side."""
    jobs = [(side, name) for side in children for name in (None, *variants[side])]
    times: dict[tuple[str, str | None], list[float]] = {job: [] for job in jobs}
    for side, name in jobs:
        if name is not None:
            children[side].seconds(name)  # the case itself has had its first run
    for _ in range(repeats):
        for side, name in jobs:
            times[side, name].append(children[side].seconds(name))
    medians = {job: median(taken) for job, taken in times.items()}
    others: dict[str, dict[str, float]] = {}
    for (side, name), seconds in medians.items():
        if name is not None:
            others.setdefault(name, {})[side] = seconds
    return {side: medians[side, None] for side in children}, others


def _facts(
    facts: dict[str, dict[str | None, dict[str, float]]],
    seconds: dict[str, float],
    others: dict[str, dict[str, float]],
) -> list[dict[str, Any]]:
    """Further facts of each side and variant, one entry each; a number of images also as images a second."""
    entries = []
    for side, works in facts.items():
        for variant, values in works.items():
            if values:
                taken = seconds[side] if variant is None else others[variant][side]
                entry = {"side": side, "variant": variant, **values}
                if "pictures" in values:
                    entry["images per second"] = values["pictures"] / taken
                entries.append(entry)
    return entries
