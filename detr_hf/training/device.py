"""What a run asks of its devices, and of the way its processes share the work."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe

SPLITTING = {DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM}
"""Ways to run that give a process a part of the model."""


def set_up_device(recipe: Recipe, accelerator: Accelerator) -> None:
    """Set the precision of float32 products as the recipe says: exact, or TF32.

    Raises:
        UserError: the launcher shards the model, or TF32 is asked of a device that has none.
    """
    if accelerator.distributed_type in SPLITTING:
        raise UserError(
            f"the launch configuration asks for {accelerator.distributed_type.value}, which splits the model "
            "over processes; a DETR is small enough for one GPU, and this package trains whole copies of it. "
            "Launch with distributed_type: MULTI_GPU, and see docs/scaling.md for saving memory."
        )
    if recipe.compute.tf32 and accelerator.device.type != "cuda":
        raise UserError(
            f"compute.tf32: needs an NVIDIA GPU, and this run is on {accelerator.device.type}; remove it."
        )
    set_float32_products(recipe.compute.tf32)


def set_float32_products(tf32: bool) -> None:
    """How NVIDIA GPUs multiply in float32: in full, or with inputs rounded to 10 bits of mantissa."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32  # on by default, unlike the line above
