"""Tests that run on a GPU where there is one, and on the CPU so that they are run at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from detr_hf.training.distributed import set_deterministic, set_float32_products


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, own_cache: object
) -> Iterator[str]:
    """Where Accelerate puts a run; what a run sets for the whole process is set back."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU that PyTorch can use")
    if request.param == "cpu":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    deterministic = torch.are_deterministic_algorithms_enabled()
    AcceleratorState._reset_state(reset_partial_state=True)
    yield request.param
    AcceleratorState._reset_state(reset_partial_state=True)
    set_float32_products(False)
    set_deterministic(deterministic)
