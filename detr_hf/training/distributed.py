"""Processes and their devices: sums over all of them, one that is lost, kernels, and random generators."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, parse_flag_from_env
from torch import Tensor

from detr_hf.doc_pages import doc_page
from detr_hf.errors import StoppedEarly, UserError
from detr_hf.recipe import Recipe

TIMEOUT = timedelta(minutes=30)
"""How long processes wait for each other: the main one may read a large data set meanwhile."""

SPLITTING = {DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM}
"""Ways to run that give a process a part of the model."""

LOST_CONNECTION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "gloo",
    "NCCL",
)


class LostProcessError(UserError):
    """Another process of the run ended: a loading process, or another training process."""


def sum_over_processes(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """The sums of all processes' values, in float32; collective."""
    shares = torch.tensor(values, dtype=torch.float32)  # also alone: the same numbers on any number
    if accelerator.num_processes == 1:
        return shares.tolist()
    return accelerator.reduce(shares.to(accelerator.device), reduction="sum").tolist()


def any_rank(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is set on any process; collective."""
    return sum_over_processes(accelerator, [float(flag)])[0] > 0


@contextmanager
def explain_lost_processes() -> Iterator[None]:
    """Around all of a run: turn what torch raises when another process dies into a plain message.

    Raises:
        LostProcessError: a loading process was killed, or a training process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "DataLoader worker" in message:
            raise LostProcessError(
                f"data.workers: a loading process ended ({message}). If it printed an error, see there. "
                "Otherwise memory usually ran out: lower data.workers (0 loads in the training process). "
                "The same command resumes from the last checkpoint."
            ) from error
        distributed = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
        if distributed or any(words in str(error) for words in LOST_CONNECTION):
            raise LostProcessError(
                f"the processes of this run lost touch ({message}). One of them ended, and its own message "
                "says why, or the network failed. The same command resumes from the last checkpoint."
            ) from error
        raise


@contextmanager
def main_process_first() -> Iterator[None]:
    """What the main process does before the others, where there is no accelerator yet; collective."""
    state = PartialState(cpu=on_cpu(), timeout=TIMEOUT)
    with explain_lost_processes(), state.main_process_first():
        yield


@contextmanager
def parting() -> Iterator[None]:
    """Around all runs of these processes: at the end, also of a run that was stopped, they part together."""
    try:
        yield
    except StoppedEarly:
        _part()
        raise
    _part()


def _part() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def on_cpu() -> bool:
    """Whether the launcher asks for CPUs, or there is nothing else.

    Without a word on it, as from `torchrun`, Accelerate takes processes without a GPU for unrelated ones.
    """
    are_several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return parse_flag_from_env("ACCELERATE_USE_CPU") or (are_several and not torch.accelerator.is_available())


def set_up_device(recipe: Recipe, accelerator: Accelerator) -> None:
    """Float32 products exact or in TF32, and kernels that repeat their sums or need not, as the recipe says.

    Raises:
        UserError: the launcher splits the model, or TF32 is asked of a device that has none.
    """
    if accelerator.distributed_type in SPLITTING:
        raise UserError(
            f"the launch configuration asks for {accelerator.distributed_type.value}, which splits the model "
            "over processes. Here every process holds the whole model: launch with distributed_type: "
            f"MULTI_GPU, and see {doc_page('scaling.md')}."
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


def set_deterministic(enabled: bool) -> None:
    """Whether kernels add up in the same order every time; one that cannot warns once, and is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made
    torch.use_deterministic_algorithms(enabled, warn_only=True)
    # Filling new memory takes time, and nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Gradients of depthwise convolutions: the sums over processes are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # The position embedding counts pixels with it: whole numbers, the same in any order.
    warnings.filterwarnings("ignore", message="cumsum_cuda_kernel does not have a deterministic")


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch (on the CPU and on ``device``), numpy and Python, by name.

    Augmentation and sample order need none of them, they follow from seed, epoch and row; dropout does.
    """
    _, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor(words),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([place, has_gauss, cached], dtype=torch.float64),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back; a state that is not there (more processes than before) is left as it is."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "python" in states:
        gauss = states["python_gauss"].tolist()
        random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    if "numpy" in states:
        place, has_gauss, cached = states["numpy_rest"].tolist()
        keys = states["numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, int(place), int(has_gauss), cached))
    if "device" in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states["device"])
