"""Float16 is of GPUs alone."""

from __future__ import annotations

import pytest

FP16 = pytest.param("fp16", marks=pytest.mark.gpu)


def skip_unless_usable(precision: str, device: str) -> None:
    """Skip what is refused, which other tests look at."""
    if (precision, device) == ("fp16", "cpu"):
        pytest.skip("fp16 needs a GPU")
