"""What a run asks of its devices, and of the way its processes share the work."""

from __future__ import annotations

import os
import warnings

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe

SPLITTING = {DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM}
"""Ways to run that give a process a part of the model."""


def set_up_device(recipe: Recipe, accelerator: Accelerator) -> None:
    """Float32 products exact or in TF32, and kernels that repeat their sums or need not, as the recipe says.

    Raises:
        UserError: the launcher splits the model, or TF32 is asked of a device that has none.
    """
    if accelerator.distributed_type in SPLITTING:
        raise UserError(
            f"the launch configuration asks for {accelerator.distributed_type.value}, which splits the model "
            "over processes. Here every process holds the whole model: launch with distributed_type: "
            "MULTI_GPU, and see docs/scaling.md."
        )
    if recipe.compute.tf32 and accelerator.device.type != "cuda":
        raise UserError(
            f"compute.tf32: needs an NVIDIA GPU, and this run is on {accelerator.device.type}; remove it."
        )
    set_float32_products(recipe.compute.tf32)
    set_deterministic(recipe.compute.deterministic)


def set_float32_products(tf32: bool) -> None:
    """How NVIDIA GPUs multiply in float32: in full, or with inputs rounded to 10 bits of mantissa."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32  # on by default, unlike the line above


def set_deterministic(wanted: bool) -> None:
    """Whether kernels add up in the same order every time; one that cannot says so once, and is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    # Filling new memory takes time, and nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # The position embedding counts pixels with it: whole numbers, the same in any order.
    warnings.filterwarnings("ignore", message="cumsum_cuda_kernel does not have a deterministic")
