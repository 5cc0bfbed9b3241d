"""What a step and an inference of the families cost beside DETR's, all of them in one run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from benchmarks.child import Child
from benchmarks.compare import take_turns
from benchmarks.machine import machine_facts
from benchmarks.settings import Settings

FAMILIES = "families"
BASE = "detr"

NETWORKS = {
    BASE: "DETR",
    "detr_query_groups": "DETR, three query groups",
    "conditional_detr": "Conditional DETR",
    "dab_detr": "DAB-DETR",
    "deformable_detr_single_scale": "Deformable DETR, one level",
    "deformable_detr_box_refine": "Deformable DETR, four levels, box refinement",
    "deformable_detr_two_stage": "Deformable DETR, four levels, two stages",
}
"""Titles by the name of the builder in ``benchmarks/cases/families.py``."""


def compare_families(settings: Settings) -> dict[str, Any]:
    """All networks in turn, as written to JSON.

    Returns:
        ``case``; ``networks``: by name ``seconds`` of a step and ``inference_seconds`` (medians), ``peak_mb``
        of a step and ``parameters``; ``settings``; ``machine``.

    Raises:
        ChildError: a network could not do its work.
    """
    machine = machine_facts(settings.device)
    with ExitStack() as stack:
        children = {name: stack.enter_context(Child(FAMILIES, name, settings)) for name in NETWORKS}
        variants = {name: child.ready() for name, child in children.items()}
        peaks = {name: child.peak_mb() for name, child in children.items()}
        seconds, others = take_turns(children, variants, settings.repeats)
        facts = {name: child.facts[None] for name, child in children.items()}
    networks = {
        name: {
            "seconds": seconds[name],
            "inference_seconds": others["inference"][name],
            "peak_mb": peaks[name],
            "parameters": facts[name]["parameters"],
        }
        for name in NETWORKS
    }
    return {"case": FAMILIES, "networks": networks, "settings": asdict(settings), "machine": machine}


def families_table(networks: dict[str, dict[str, float]]) -> list[str]:
    """Lines of Markdown: a row a network, each number with its ratio to DETR's."""
    head = ("a step, s", "an image, s", "peak memory of a step, MB", "million parameters")
    lines = [
        "| network | " + " | ".join(f"{name} | / DETR" for name in head) + " |",
        "| --- |" + " --: |" * (2 * len(head)),
    ]
    base = networks[BASE]
    for name, title in NETWORKS.items():
        costs = networks[name]
        shown = {
            "seconds": f"{costs['seconds']:.3g}",
            "inference_seconds": f"{costs['inference_seconds']:.3g}",
            "peak_mb": f"{costs['peak_mb']:.0f}",
            "parameters": f"{costs['parameters'] / 1e6:.1f}",
        }
        cells = [f"{text} | **{costs[key] / base[key]:.1f}**" for key, text in shown.items()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines
