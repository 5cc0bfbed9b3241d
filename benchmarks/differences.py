"""How far the outcomes of both sides are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LEAST_SHARE = 1e-3
"""A gradient that is smaller than this share of all gradients together is measured against that share.

Some are zero but for rounding (the bias of attention keys moves no softmax), and have no relative error of
their own.
"""


def relative_differences(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> dict[str, float]:
    """By name: the share of entries that differ (integers, masks), or |ours - stock| / |stock| in Euclidean
    norm.

    Raises:
        ValueError: one side has something that the other lacks, or of another shape.
    """
    if set(ours) != set(stock):
        raise ValueError(f"only one side has {', '.join(sorted(set(ours) ^ set(stock)))}")
    squares = sum(_norm(array) ** 2 for name, array in stock.items() if _is_gradient(name))
    differences = {}
    for name, theirs in stock.items():
        mine = ours[name]
        if mine.shape != theirs.shape:
            raise ValueError(f"{name}: ours has shape {mine.shape}, stock {theirs.shape}")
        if theirs.dtype.kind in "bui":
            differences[name] = float(np.mean(mine != theirs)) if mine.size else 0.0
            continue
        size = max(_norm(theirs), LEAST_SHARE * squares**0.5 if _is_gradient(name) else 0.0)
        apart = _norm(np.asarray(mine, np.float64) - theirs)
        differences[name] = apart / size if size else apart
    return differences


def _norm(array: Any) -> float:
    return float(np.linalg.norm(np.asarray(array, np.float64)))


def _is_gradient(name: str) -> bool:
    return name.startswith("gradient of ")
