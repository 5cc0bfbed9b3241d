"""What every family starts from: a file, or nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.families.registry import FAMILIES, family_of
from detr_hf.modeling.model_files import load_processor
from detr_hf.modeling.pretrained import load_stage1
from tests.family_models import VARIANTS, family_detector, save_family
from tests.tiny_models import LABELS, random_batch

YARD = LabelMap.from_names(["digger", "fence"])
ONE_STAGE = [variant for variant in VARIANTS if not variant.endswith("two_stage")]
DEFORMABLE = [variant for variant in VARIANTS if variant.startswith("deformable")]


# ---- from a file


def save_with_own_heads(variant: str, folder: Path, equal: bool) -> Any:
    """A file as the reference's are, with a class head for every layer; of equal values or not."""
    detector = family_detector(variant)
    family_of(detector).replace_classes(detector, LABELS)
    if equal:
        for head in detector.class_embed:
            head.load_state_dict(detector.class_embed[0].state_dict())
    detector.save_pretrained(folder)
    return detector


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("variant", DEFORMABLE)
def test_files_with_a_head_for_every_layer_load_for_other_labels(
    variant: str, equal: bool, tmp_path: Path
) -> None:
    """Guards: a crash where such heads differ, and heads that come back as one where they do not."""
    source = save_with_own_heads(variant, tmp_path, equal)
    detector, report = load_stage1(str(tmp_path), YARD)
    heads = detector.class_embed
    assert len({id(head.weight) for head in heads} | {id(head.bias) for head in heads}) == 2 * len(heads)
    assert {head.weight.shape for head in heads} == {(2, 64)}
    theirs = source.state_dict()
    assert {
        name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, theirs[name])
    } == {*report.new, *(f"model.decoder.{name}" for name in report.new if variant.endswith("two_stage"))}


def test_auxiliary_loss_of_conditional_detr_is_switched_off(tmp_path: Path) -> None:
    """Guards: a flag that feeds every decoder layer the normed output of the one before."""
    detector, _ = load_stage1(str(save_family("conditional_detr", tmp_path, auxiliary_loss=True)), YARD)
    assert detector.config.auxiliary_loss is False


def test_segmenters_of_conditional_detr_are_refused(tmp_path: Path) -> None:
    """Guards: boxes without their reference points."""
    file = save_family("conditional_detr", tmp_path) / "config.json"
    config = json.loads(file.read_text()) | {"architectures": ["ConditionalDetrForSegmentation"]}
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match="leave out the reference points; take a detector, or DETR for masks"):
        load_stage1(str(tmp_path), YARD)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_processor_is_the_familys_whatever_was_saved(variant: str, tmp_path: Path) -> None:
    """Guards: DETR's processor beside sigmoid heads, which `pipeline` would read with a softmax."""
    folder = save_family(variant, tmp_path)
    DetrImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(folder)
    processor = load_processor(str(folder))
    assert type(processor) is FAMILIES[VARIANTS[variant][1].model_type].processor_class
    assert tuple(processor.image_mean) == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stem_and_first_stage_of_every_family_are_frozen(variant: str) -> None:
    """Guards: stock freezing, which looks for "resnet" where the config says "timm_backbone"."""
    detector = family_detector(variant)
    freeze_backbone(family_of(detector).backbone(detector), "stem_and_first_stage")
    frozen = {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    in_backbone = [name for name, _ in detector.named_parameters() if ".backbone." in name]
    assert frozen == {name for name in in_backbone if ".conv1." in name and "layer" not in name} | {
        name for name in in_backbone if ".layer1." in name
    }
    assert 0 < len(frozen) < len(in_backbone)


# ---- from nothing


@torch.no_grad()
def boxes_from_nothing(variant: str, folder: Path) -> Tensor:
    """Boxes of every layer, before the first step."""
    torch.manual_seed(0)
    detector, _ = load_stage1(str(save_family(variant, folder)), YARD, scratch=True)
    pixel_values, pixel_mask, _ = random_batch([1, 1], (64, 96))
    return family_of(detector).run(detector.eval(), pixel_values, pixel_mask, True).boxes_cxcywh_norm


@pytest.mark.parametrize("variant", ONE_STAGE)
def test_new_boxes_start_at_their_reference_points(variant: str, tmp_path: Path) -> None:
    """Guards: last layers of box heads that are not 0, and boxes of Deformable DETR that start large."""
    boxes = boxes_from_nothing(variant, tmp_path)
    for layer in boxes:
        torch.testing.assert_close(layer[..., :2], boxes[0, ..., :2])
    if variant != "dab_detr":  # whose anchors have a size
        size = torch.tensor(-2.0 if variant.startswith("deformable") else 0.0).sigmoid()
        torch.testing.assert_close(boxes[..., 2:], size.expand(boxes[..., 2:].shape))


@pytest.mark.parametrize("variant", ONE_STAGE)
def test_new_boxes_are_spread_over_the_image(variant: str, tmp_path: Path) -> None:
    """Guards: queries that are drawn so small that all of them start at the middle of the image."""
    assert boxes_from_nothing(variant, tmp_path)[0, 0, :, :2].std(0).min() > 0.1


def test_new_projections_keep_the_variance(tmp_path: Path) -> None:
    """Guards: weights that are drawn the same for wide and narrow maps."""
    detector, _ = load_stage1(str(save_family("deformable_detr", tmp_path)), YARD, scratch=True)
    for projection, _ in detector.model.input_proj:
        of_output, of_input = projection.weight[0].numel(), projection.weight[:, 0].numel()
        xavier = math.sqrt(2 / (of_output + of_input))
        assert projection.weight.std().item() == pytest.approx(xavier, rel=0.1)
        assert not projection.bias.any()
