"""Weights, gradients and optimizer state dealt out over the processes (FSDP2; Rajbhandari et al. 2020, ZeRO).

What learns is a twin of the task whose learning weights are dealt out; what is evaluated, saved and drawn is
the task itself, whole on every process, brought up to date when needed. So evaluation, checkpoints and
pictures know nothing of shards, processes may run unlike numbers of batches, and a checkpoint goes on with
shards or without.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from detr_hf.errors import UserError
from detr_hf.training.setup import Task


def sharded_twin(task: Task, accelerator: Accelerator) -> Task:
    """A copy of a task whose learning weights are dealt out; frozen ones and buffers are the task's own.

    Each part that transformers wants in one piece (``_no_split_modules``: the backbone, every encoder and
    decoder layer) is gathered when it runs, and let go again; the rest is gathered together for a whole pass.

    Args:
        task: the same on every process, on its device.
        accelerator: of several processes.

    Raises:
        UserError: this version of torch cannot leave frozen weights whole.
    """
    from torch.distributed.fsdp import fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise UserError(
            f"compute.shard: torch {torch.__version__} cannot leave frozen weights whole; install a newer."
        )
    frozen = {parameter for parameter in task.parameters() if not parameter.requires_grad}
    twin = copy.deepcopy(task, {id(tensor): tensor for tensor in (*frozen, *task.buffers())})
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    whole_parts = set(twin.model._no_split_modules or ())
    for module in reversed(list(twin.modules())):  # parts before the whole
        learns = any(parameter.requires_grad for parameter in module.parameters())
        if module is twin or (type(module).__name__ in whole_parts and learns):
            fully_shard(module, mesh=mesh, ignored_params=frozen)
    return twin


@torch.no_grad()
def gather_into(task: Task, trained: Task) -> None:
    """Bring a task up to date with its sharded twin; collective."""
    for mine, theirs in _pairs(task, trained):
        mine.copy_(whole(theirs))


@torch.no_grad()
def deal_out(task: Task, trained: Task) -> None:
    """Bring a sharded twin up to date with its task; the other way round."""
    for mine, theirs in _pairs(task, trained):
        theirs.copy_(dealt_out_like(mine, theirs))


def _pairs(task: Task, trained: Task) -> Iterator[tuple[Tensor, Tensor]]:
    """Each learning weight of a task and of its twin; none where they are the same."""
    if trained is not task:
        pairs = zip(task.parameters(), trained.parameters(), strict=True)
        yield from (pair for pair in pairs if pair[0].requires_grad)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is dealt out, on every process; any other as it is. Collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def dealt_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, dealt out as ``like`` is; all of it where that is whole."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    on_device = tensor.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def held_here(module: nn.Module) -> int:
    """How many of a module's learning parameters this process holds."""
    learning = (parameter for parameter in module.parameters() if parameter.requires_grad)
    return sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in learning)
