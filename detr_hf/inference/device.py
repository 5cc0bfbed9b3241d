"""Where a model runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from detr_hf.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, or the GPU when there is one.

    Raises:
        UserError: there is no such device, or it cannot be used.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"the device {name} cannot be used here ({str(error).splitlines()[0]}).") from error
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Half precision for what bears it; weights stay in float32. Nothing for "fp32"."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _AUTOCAST[precision])


def refuse_unusable(precision: str, device: torch.device) -> None:
    """Raises UserError for an unknown precision, and for float16 without a GPU."""
    if precision != "fp32" and precision not in _AUTOCAST:
        raise UserError(f"precision {precision!r} is not known; choose fp32, bf16 or fp16.")
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; on a CPU choose fp32 or bf16.")
