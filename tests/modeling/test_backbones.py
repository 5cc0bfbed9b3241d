"""Which backbones are refused, and which of their parameters stay frozen."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import DetrForObjectDetection, ResNetConfig

from detr_hf.errors import UserError
from detr_hf.modeling.backbones import freeze_backbone, patch_side, refuse_vanishing_activations
from detr_hf.modeling.families.registry import family_of
from tests.family_models import VARIANTS, family_detector
from tests.tiny_models import timm_backbone, tiny_config, tiny_detector

OWN_RESNET = ResNetConfig(
    embedding_size=16,
    hidden_sizes=[16, 24, 32, 48],
    depths=[1, 1, 1, 1],
    layer_type="basic",
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
KINDS = {
    "timm resnet": ("resnet18", ("conv1.", "bn1.", "layer1.")),
    "timm resnet, one map": (timm_backbone(out_indices=[4]), ("conv1.", "bn1.", "layer1.")),
    "timm resnet, five maps": (timm_backbone(out_indices=[0, 1, 2, 3, 4]), ("conv1.", "bn1.", "layer1.")),
    "timm convnext": ("test_convnext3", ("stem_0.", "stem_1.", "stages_0.")),
    "timm convnext, dilated": (
        timm_backbone("test_convnext3", output_stride=16),
        ("stem_0.", "stem_1.", "stages_0."),
    ),
    "transformers' own resnet": (OWN_RESNET, ("embedder.", "encoder.stages.0.")),
}


def backbone_gradients(detector: DetrForObjectDetection) -> dict[str, bool]:
    parameters = detector.model.backbone.model.named_parameters()
    return {name: parameter.requires_grad for name, parameter in parameters}


@pytest.mark.parametrize("kind", KINDS)
def test_stem_and_first_stage_are_frozen_and_nothing_else(kind: str) -> None:
    """Guards: stock freezing, which looks for "resnet" where timm backbones say "timm_backbone", in vain."""
    backbone, prefixes = KINDS[kind]
    detector = tiny_detector(backbone)
    frozen = freeze_backbone(detector.model.backbone, "stem_and_first_stage")
    learns = backbone_gradients(detector)
    assert frozen == [name for name, wanted in learns.items() if not wanted]
    assert frozen == [name for name in learns if name.startswith(prefixes)]
    assert {name.split(".")[0] + "." for name in frozen} <= {
        prefix.split(".")[0] + "." for prefix in prefixes
    }
    assert 0 < len(frozen) < len(learns)
    beyond = [p for name, p in detector.named_parameters() if ".backbone." not in name]
    assert all(parameter.requires_grad for parameter in beyond)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stem_and_first_stage_of_every_family_are_frozen(variant: str) -> None:
    """Guards: stock freezing, which is meant in every family and happens in none with timm's backbone."""
    detector = family_detector(variant)
    family, network = family_of(detector), [n for n, _ in detector.named_parameters() if ".backbone." in n]
    learning = {name for name, parameter in detector.named_parameters() if parameter.requires_grad}
    assert learning.issuperset(network), "stock"
    freeze_backbone(family.backbone(detector), "stem_and_first_stage")
    stopped = {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    early = {name for name in network if re.search(r"model\.(_backbone\.)?(conv1|layer1)\.", name)}
    assert stopped == early and 0 < len(early) < len(network)
    freeze_backbone(family.backbone(detector), "all")
    stopped = {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    assert stopped == set(network)


def test_all_and_none() -> None:
    detector = tiny_detector()
    assert freeze_backbone(detector.model.backbone, "all") == list(backbone_gradients(detector))
    assert not any(backbone_gradients(detector).values())
    assert freeze_backbone(detector.model.backbone, "none") == []
    assert all(backbone_gradients(detector).values())


@pytest.mark.parametrize("backbone", ["test_resnet", "resnet18", "test_convnext3"])
def test_stock_leaves_a_timm_backbone_wholly_trainable(backbone: str) -> None:
    """If this fails, transformers freezes timm backbones again, and our own freezing may be doubled."""
    assert all(backbone_gradients(tiny_detector(backbone)).values())


def test_a_backbone_of_unknown_parts_is_refused() -> None:
    detector = tiny_detector()
    detector.model.backbone.model = detector.model.encoder.layers
    with pytest.raises(
        UserError, match=r"model.freeze_backbone: .*ModuleList is not known; choose `all` or `none`"
    ):
        freeze_backbone(detector.model.backbone, "stem_and_first_stage")
    assert freeze_backbone(detector.model.backbone, "all")


@pytest.mark.parametrize(("name", "lost"), [("efficientnet_lite0", 33), ("mobilenetv3_small_050", 23)])
def test_backbones_that_would_lose_their_activations_are_refused(name: str, lost: int) -> None:
    """Guards: transformers replaces batch norms that carry the activation function, and drops it."""
    with pytest.raises(UserError, match=rf"some/model: .*'{name}' would lose {lost} activation functions"):
        refuse_vanishing_activations(tiny_config(timm_backbone(name)).backbone_config, "some/model")


@pytest.mark.parametrize("backbone", ["resnet50", "test_resnet", "test_convnext3", OWN_RESNET])
def test_sound_backbones_pass(backbone: str | ResNetConfig) -> None:
    refuse_vanishing_activations(tiny_config(backbone).backbone_config, "some/model")


def test_a_backbone_that_timm_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match="some/model: its backbone 'resnet18x' is not one that timm"):
        refuse_vanishing_activations(tiny_config(timm_backbone("resnet18x")).backbone_config, "some/model")


@pytest.mark.parametrize(
    ("backbone", "side"),
    [
        ("test_resnet", None),
        ("resnet18", None),
        (OWN_RESNET, None),
        ("test_convnext3", 32),
        (timm_backbone("test_convnext3", output_stride=16), 16),
    ],
)
def test_patches_that_drop_the_rim_are_known(backbone: str, side: int | None) -> None:
    """Guards: a backbone of patches loses the rim of most pictures, and stretches boxes, without a word."""
    detector = tiny_detector(backbone)
    assert patch_side(detector.model.backbone) == side
    if side is not None:
        maps = [
            detector.model.backbone(torch.zeros(1, 3, n, n), torch.ones(1, n, n))[-1][0] for n in (64, 79)
        ]
        assert maps[1].shape[-1] == 79 // side and maps[0].shape[-1] == 64 // side
