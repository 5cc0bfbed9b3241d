"""Numbers in foreign annotations, which may be text, too large for a float, or none at all."""

from __future__ import annotations

from typing import Any, TypeGuard

LARGEST_COORDINATE = 1e9
INT64 = 2**63


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number that a float holds; NaN and infinities are, true and false are not."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1023)


def is_coordinate(value: Any) -> TypeGuard[int | float]:
    """Whether it is a finite number that can be a place in an image."""
    is_any = isinstance(value, float) or type(value) is int  # of NaN, the comparison below is false
    return is_any and -LARGEST_COORDINATE < value < LARGEST_COORDINATE


def is_int64(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number that fits into 64 bits."""
    return type(value) is int and -INT64 <= value < INT64
