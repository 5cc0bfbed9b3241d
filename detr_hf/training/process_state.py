"""A training inside somebody's program or notebook: it leaves the process as it was."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from transformers.utils import logging as transformers_logging

from detr_hf.inference.device import usable_device
from detr_hf.training.distributed import random_state, set_random_state


@contextmanager
def kept_process_state() -> Iterator[None]:
    """Around a training or an evaluation: what it sets for the whole process is put back at its end.

    Accelerate keeps one state a process, with the precision of the first run in it: a second run starts with
    none, and an ``Accelerator`` of the caller's own works on afterwards. Random generators, torch's switches,
    warning filters and environment variables are put back as well.
    """
    device = usable_device(None)
    shared: list[dict[str, Any]] = [s._shared_state for s in (PartialState, AcceleratorState, GradientState)]
    states, environment, generators = [dict(one) for one in shared], dict(os.environ), random_state(device)
    switches = _switches()
    had_bars = transformers_logging.is_progress_bar_enabled()
    try:
        for one in shared:
            one.clear()
        with warnings.catch_warnings():
            yield
    finally:
        for one, state in zip(shared, states, strict=True):
            one.clear()
            one.update(state)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        set_random_state(generators, device)
        _set_switches(switches)
        if had_bars:
            transformers_logging.enable_progress_bar()


def _switches() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


def _set_switches(switches: tuple[bool, ...]) -> None:
    deterministic, warn_only, fill, matmul_tf32, cudnn_tf32 = switches
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
