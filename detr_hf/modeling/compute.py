"""Less memory, or less time, for the same numbers: norms, checkpointed activations, compiled layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DetrForObjectDetection
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from detr_hf.errors import UserError


class OnePassFrozenNorm(DetrFrozenBatchNorm2d):
    """The stock frozen norm, read and written in one pass over the map where no gradient is recorded.

    With gradients the stock formula stays: it keeps nothing of its input for the backward pass. So it does
    where autocast mixes precisions, which the formula resolves to float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same as stock, ``[B, C, H, W]`` to ``[B, C, H, W]``, but for the last bits."""
        if torch.is_grad_enabled() or x.dtype != self.weight.dtype:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


def norm_in_one_pass(detector: DetrForObjectDetection) -> None:
    """Let every frozen norm of the backbone be a ``OnePassFrozenNorm``, in place; weights and names stay."""
    for module in detector.model.backbone.modules():
        if type(module) is DetrFrozenBatchNorm2d:
            module.__class__ = OnePassFrozenNorm


def checkpoint_activations(detector: DetrForObjectDetection) -> None:
    """Compute the activations of backbone stages, encoder and decoder layers again in the backward pass.

    Non-reentrant, on purpose: the reentrant kind gives the recorded outputs of the inner decoder layers no
    gradient, and the auxiliary losses would be lost.

    Raises:
        UserError: the backbone knows no checkpointing.
    """
    older = detector.gradient_checkpointing_enable  # its name before transformers 5.2x
    getattr(detector, "activation_checkpointing_enable", older)({"use_reentrant": False})
    backbone: Any = detector.model.backbone.model
    if hasattr(backbone, "set_grad_checkpointing"):  # timm
        backbone.set_grad_checkpointing(True)
    elif not getattr(backbone, "supports_gradient_checkpointing", False):
        raise UserError(
            f"compute.gradient_checkpointing: the backbone, a {type(backbone).__name__}, cannot do it; "
            "lower optim.micro_batch_size instead."
        )


def compile_layers(detector: DetrForObjectDetection, backend: str = "inductor") -> None:
    """torch.compile of the backbone and of every encoder layer, in place, for inputs of any size.

    The names of the weights stay. The decoder is left alone: it is a hundred queries long, and the outputs of
    its layers are recorded by hooks that would make it compile anew at every step.
    """
    parts = [detector.model.backbone, *detector.model.encoder.layers]
    for part in parts:
        part.compile(dynamic=True, backend=backend)
