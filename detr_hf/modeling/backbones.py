"""What a backbone must be inside transformers' detectors, and which part of it stays frozen."""

from __future__ import annotations

from functools import cache
from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d
from timm.models import FeatureDictNet
from torch import nn

from detr_hf.errors import UserError

PROBE_SIDE = 128  # pixels; a multiple of every stride that is in use


def refuse_vanishing_activations(backbone_config: Any, source: str) -> None:
    """Refuse a timm backbone that would lose its activations inside transformers' DETR and its relatives.

    transformers replaces every ``BatchNorm2d`` by a frozen norm. timm's ``BatchNormAct2d`` is one, and
    carries the activation function too, which is then gone without a word (EfficientNet, MobileNet and
    others).

    Args:
        backbone_config: of the model's configuration.
        source: where it comes from, for the message.

    Raises:
        UserError: the backbone has such layers, or timm does not know it.
    """
    name = getattr(backbone_config, "backbone", None)  # what a timm backbone is called
    if getattr(backbone_config, "model_type", None) != "timm_backbone" or name is None:
        return
    if not timm.is_model(name):
        raise UserError(f"{source}: its backbone {name!r} is not one that timm {timm.__version__} knows.")
    if lost := _fused_activations(name):
        raise UserError(
            f"{source}: its backbone {name!r} would lose {lost} activation functions in transformers, "
            "because batch norm and activation are one layer there. Use a ResNet or ConvNeXt backbone."
        )


@cache  # every model that is loaded asks
def _fused_activations(name: str) -> int:
    """Activation functions of a timm network that are part of a batch norm."""
    with torch.device("meta"):
        pristine = timm.create_model(name, pretrained=False)
    fused = (module for module in pristine.modules() if isinstance(module, BatchNormAct2d))
    return sum(not isinstance(module.act, nn.Identity) for module in fused)


def freeze_backbone(backbone: Any, what: str) -> list[str]:
    """Stop the gradients of the backbone, of its stem and first stage, or of nothing.

    The stock model means to freeze stem and first stage but does not for timm backbones, the usual ones.

    Args:
        backbone: see ``Family.backbone``; its parameters are changed in place.
        what: "none", "stem_and_first_stage" (as the reference does for ResNet) or "all".

    Returns:
        The names of the frozen parameters, relative to the backbone.

    Raises:
        UserError: the first stage of this kind of backbone is unknown.
    """
    network = network_of(backbone)
    network.requires_grad_(True)
    if what == "none":
        return []
    prefixes = (
        [name for name, _ in network.named_children()] if what == "all" else _stem_and_first_stage(network)
    )
    frozen = []
    for name, parameter in network.named_parameters():
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def network_of(backbone: Any) -> Any:
    """The network that learns; some families of transformers keep timm's in a wrapper."""
    return getattr(backbone.model, "_backbone", backbone.model)


def patch_side(backbone: nn.Module) -> int | None:
    """The side in pixels of the patches that the backbone cuts an image into; None where it cuts none.

    What fills no whole patch (ConvNeXt, vision transformers) is dropped, and all places come out stretched by
    as much. Backbones that pad (ResNet) see every pixel.
    """
    cells = _columns_seen(backbone, PROBE_SIDE)
    return None if _columns_seen(backbone, PROBE_SIDE - 1) == cells else PROBE_SIDE // cells


def map_stride(backbone: nn.Module, config: Any) -> int:
    """Pixels to a cell of the finest map that the encoder of a detector sees.

    Args:
        backbone: see ``Family.backbone``.
        config: of the detector; one of several feature levels sees all of the backbone's maps, others the
            coarsest.
    """
    which = 0 if getattr(config, "num_feature_levels", 1) > 1 else -1
    return PROBE_SIDE // _columns_seen(backbone, PROBE_SIDE, which)


@torch.no_grad()
def _columns_seen(backbone: nn.Module, side: int, which: int = -1) -> int:
    """Columns of one of the maps, the coarsest if not told otherwise, of a square image."""
    first = next(backbone.parameters())
    pixels = torch.zeros(1, 3, side, side, dtype=first.dtype, device=first.device)
    seen, _ = backbone(pixels, torch.ones_like(pixels[:, 0], dtype=torch.int64))[which]
    return int(seen.shape[-1])


def _stem_and_first_stage(backbone: nn.Module) -> list[str]:
    if isinstance(
        backbone, FeatureDictNet
    ):  # timm, features_only: the children up to the last map of stride 4
        children = [name for name, _ in backbone.named_children()]
        fine = [
            info["module"].replace(".", "_") for info in backbone.feature_info.info if info["reduction"] <= 4
        ]
        if fine and fine[-1] in children:
            return children[: children.index(fine[-1]) + 1]
    elif hasattr(backbone, "embedder") and hasattr(backbone, "encoder"):  # transformers' own ResNet
        return ["embedder", "encoder.stages.0"]
    raise UserError(
        f"model.freeze_backbone: the first stage of a {type(backbone).__name__} is not known; "
        "choose `all` or `none` instead of `stem_and_first_stage`."
    )
