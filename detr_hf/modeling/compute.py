"""Less memory, or less time, for the same numbers: checkpointed activations and compiled layers."""

from __future__ import annotations

from typing import Any

from transformers import DetrForObjectDetection

from detr_hf.errors import UserError


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
