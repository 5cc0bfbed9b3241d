"""The GPU that is there, and whether a checkpoint can be had."""

from __future__ import annotations

from pathlib import Path

from detr_hf.advice.facts import GPUS, STARTS, TINY, Gpu, Start
from detr_hf.errors import UserError
from detr_hf.hub_access import offline_unless_reached

AMPERE = 8  # major version of the first GPUs with bf16


def available_gpu() -> Gpu:
    """The first GPU of this machine, or its CPU."""
    import torch

    if not torch.cuda.is_available():
        return GPUS["cpu"]
    found = torch.cuda.get_device_properties(0)
    return Gpu(found.name, found.total_memory / 1e9, found.major >= AMPERE)


def start_for(family: str) -> Start:
    """The family's usual checkpoint; offline, where it is not cached, the tiny one of the package.

    Raises:
        UserError: there is no tiny one.
    """
    start = STARTS[family]
    if is_available(start.checkpoint):
        return start
    if family not in TINY:
        raise UserError(
            f"--family {family}: {start.checkpoint} is not cached, and there is no network. Offline there "
            f"are tiny checkpoints of {' and '.join(TINY)}"
        )
    return TINY[family]


def is_available(checkpoint: str) -> bool:
    """Whether a checkpoint is a folder, is cached, or can be fetched."""
    from huggingface_hub import try_to_load_from_cache

    if Path(checkpoint).is_dir():
        return True
    weights = ("model.safetensors", "pytorch_model.bin")
    has_config = isinstance(try_to_load_from_cache(checkpoint, "config.json"), str)
    if has_config and any(isinstance(try_to_load_from_cache(checkpoint, name), str) for name in weights):
        return True
    return not offline_unless_reached()
