"""The cases by name. Their modules import torch, so the parent process only knows where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.settings import Settings

SIDES = ("ours", "stock")

CASES = (
    "stage1-step",
    "stage2-step",
    "panoptic-inference",
    "panoptic-merge",
    "criterion",
    "targets",
    "batching",
)

EPOCHS = {"batching"}
"""Cases of so many passes that one timed run is enough."""


@dataclass(frozen=True)
class Side:
    """What one of the sides brings to a case.

    Attributes:
        work: the case itself, done anew at every call.
        outcome: called right after ``work``: everything that must be equal on both sides, as tensors by name.
        variants: other work worth a time, by name; the other side may lack it.
        facts: called after ``work`` or a variant: what else is worth telling about it; ``pictures`` become
            images a second.
    """

    work: Callable[[], object]
    outcome: Callable[[], Mapping[str, Any]]
    variants: Mapping[str, Callable[[], object]]
    facts: Callable[[], Mapping[str, float]] = dict


def build(case: str, side: str, settings: Settings) -> Side:
    """Build model and data of one side; all sides build from the seed."""
    module = import_module(f"{__name__}.{case.replace('-', '_')}")
    builder: Callable[[Settings], Side] = getattr(module, side)
    return builder(settings)
