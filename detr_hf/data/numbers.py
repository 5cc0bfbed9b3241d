"""Numbers in foreign annotations, which may be text, too large for a float, or none at all."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

LARGEST_COORDINATE = 1e9
INT64 = 2**63


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number that a float holds; NaN and infinities are, true and false are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**1023


def is_coordinate(value: Any) -> TypeGuard[int | float]:
    """Whether it is a finite number that can be a place in an image."""
    return is_number(value) and math.isfinite(value) and abs(value) < LARGEST_COORDINATE


def is_int64(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number that fits into 64 bits."""
    return type(value) is int and -INT64 <= value < INT64
