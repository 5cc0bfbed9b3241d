"""Less memory, or less time, for the same numbers: norms, checkpointed activations, compiled layers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detr_hf.errors import UserError
from detr_hf.modeling.backbones import network_of


@cache
def one_pass(stock: Any) -> Any:
    """A class of frozen norms, made to read and write its map in one pass where no gradient is recorded.

    With gradients the stock formula stays: it keeps nothing of its input for the backward pass. So it does
    where autocast mixes precisions, which the formula resolves to float32.
    """

    class OnePassFrozenNorm(stock):
        def forward(self, x: Tensor) -> Tensor:
            """The same as stock, ``[B, C, H, W]`` to ``[B, C, H, W]``, but for the last bits."""
            if torch.is_grad_enabled() or x.dtype != self.weight.dtype:
                return super().forward(x)
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)

    return OnePassFrozenNorm


def norm_in_one_pass(backbone: nn.Module) -> None:
    """Let every frozen norm of a backbone work in ``one_pass``, in place; weights and names stay.

    Each family of transformers has a class of its own for the same norm.
    """
    for module in backbone.modules():
        if type(module).__name__.endswith("FrozenBatchNorm2d"):
            stock: Any = type(module)
            module.__class__ = one_pass(stock)


def checkpoint_activations(detector: Any, backbone: Any) -> None:
    """Compute the activations of backbone stages, encoder and decoder layers again in the backward pass.

    Non-reentrant, on purpose: the reentrant kind gives the recorded outputs of the inner decoder layers no
    gradient, and the auxiliary losses would be lost.

    Args:
        detector: the whole stock model.
        backbone: its own, see ``Family.backbone``.

    Raises:
        UserError: the backbone knows no checkpointing.
    """
    detector.supports_gradient_checkpointing = True  # DAB-DETR's layers can; stock does not say so
    older = detector.gradient_checkpointing_enable  # its name before transformers 5.2x
    getattr(detector, "activation_checkpointing_enable", older)({"use_reentrant": False})
    network = network_of(backbone)
    if hasattr(network, "set_grad_checkpointing"):  # timm
        network.set_grad_checkpointing(True)
    elif not getattr(network, "supports_gradient_checkpointing", False):
        raise UserError(
            f"compute.gradient_checkpointing: the backbone, a {type(network).__name__}, cannot do it; "
            "lower optim.micro_batch_size instead."
        )


def compile_layers(parts: Iterable[nn.Module], backend: str = "inductor") -> None:
    """torch.compile of each part, see ``Family.compilable``, in place, for inputs of any size.

    The names of the weights stay.
    """
    for part in parts:
        part.compile(dynamic=True, backend=backend)
