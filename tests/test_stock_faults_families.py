"""Faults of stock transformers in DETR's relatives, beside those of ``test_stock_faults``.

A test that fails here says that transformers has changed, as there; docs/differences.md tells what is done.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    ConditionalDetrForSegmentation,
    ConditionalDetrImageProcessor,
    DabDetrConfig,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DetrImageProcessor,
)
from transformers.models.deformable_detr.modeling_deformable_detr import inverse_sigmoid

from detr_hf.labels import LabelMap
from tests.family_models import QUERIES, VARIANTS, family_config, family_detector, randomized
from tests.tiny_models import LABELS, random_batch, relative_difference, stock_labels

SIXTY = LabelMap.from_names([f"kind {number}" for number in range(60)])
ONE_STAGE = ["deformable_detr", "deformable_detr_box_refine"]


def inputs() -> dict[str, Any]:
    """Two images; the second fills half of the canvas."""
    pixel_values, pixel_mask, targets = random_batch([3, 2], [(64, 96), (32, 128)])
    return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": stock_labels(targets)}


def fresh(variant: str, labels: LabelMap = LABELS, queries: int = QUERIES) -> Any:
    """A detector as stock initializes it."""
    config = family_config(variant, labels)
    config.num_queries = queries
    torch.manual_seed(0)
    return VARIANTS[variant][0](config).eval()


def distinct(heads: nn.ModuleList) -> int:
    """So many tensors stand behind the first weights of the heads."""
    return len({id(next(head.parameters())) for head in heads})


# ---- what it is trained with


@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", "deformable_detr"])
def test_the_class_loss_has_a_weight_of_one_whatever_the_config_says(variant: str) -> None:
    """The references of Conditional and Deformable DETR weigh it by 2."""
    detector = family_detector(variant, cls_loss_coefficient=7)
    out = detector(**inputs())
    expected = out.loss_dict["loss_ce"] + 5 * out.loss_dict["loss_bbox"] + 2 * out.loss_dict["loss_giou"]
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_numbers_of_a_config_are_not_the_references() -> None:
    """Deformable DETR's class cost is 2 there, DAB-DETR's class loss has a weight of 1."""
    assert DeformableDetrConfig().class_cost == 1
    assert DabDetrConfig().cls_loss_coefficient == 2


def test_proposals_of_two_stages_are_never_trained() -> None:
    detector = family_detector("deformable_detr_two_stage", auxiliary_loss=True)
    detector(**inputs()).loss.backward()
    untrained = {name for name, parameter in detector.named_parameters() if parameter.grad is None}
    assert {name.rpartition(".")[0] for name in untrained} == {
        *("model.enc_output", "model.enc_output_norm", "model.decoder.class_embed.3"),
        *(f"model.decoder.bbox_embed.3.layers.{layer}" for layer in range(3)),
    }


# ---- what it starts from


@pytest.mark.parametrize("variant", ["conditional_detr", "deformable_detr"])
def test_the_first_class_loss_of_a_new_head_is_hundreds_of_times_too_large(variant: str) -> None:
    """300 queries and 60 classes; a bias of -log 99 is a probability of 0.01 for every class."""
    detector = fresh(variant, SIXTY, queries=300)
    head = detector.class_embed[0] if variant == "deformable_detr" else detector.class_labels_classifier
    assert not head.bias.any()
    with torch.no_grad():
        loud = detector(**inputs()).loss_dict["loss_ce"]
        head.bias.fill_(-math.log(99))
        quiet = detector(**inputs()).loss_dict["loss_ce"]
    assert loud > 200 * quiet


def test_a_new_head_of_dab_detr_takes_its_prior_from_the_number_of_classes() -> None:
    assert fresh("dab_detr").class_embed.bias.sigmoid().tolist() == pytest.approx([1 / 6] * 5)


@pytest.mark.parametrize("variant", ["conditional_detr", "deformable_detr_box_refine"])
def test_new_boxes_do_not_start_at_their_reference_points(variant: str) -> None:
    """The references' last layers start at 0, and Deformable DETR's first boxes small, with a bias of -2."""
    detector = fresh(variant)
    heads = detector.bbox_embed if variant.startswith("deformable") else [detector.bbox_predictor]
    assert all(head.layers[-1].weight.any() for head in heads)
    assert not any(head.layers[-1].bias.any() for head in heads)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", *ONE_STAGE])
def test_new_queries_all_look_at_the_middle_of_the_image(variant: str) -> None:
    """The references draw them from a standard normal distribution, stock with a spread of 0.02."""
    detector, batch = fresh(variant), inputs()
    found = detector.model(batch["pixel_values"], pixel_mask=batch["pixel_mask"])
    points = found.init_reference_points if variant in ONE_STAGE else found.reference_points
    assert (points[..., :2] - 0.5).abs().max() < 0.05


def test_new_projections_are_drawn_the_same_whatever_their_width() -> None:
    """The reference draws them after Xavier."""
    projections = [projection for projection, _ in fresh("deformable_detr").model.input_proj]
    assert len({projection.weight[0].numel() for projection in projections}) == 4
    for projection in projections:
        assert projection.weight.std().item() == pytest.approx(0.02, rel=0.1)


# ---- what is loaded and saved


def test_class_heads_are_tied_where_box_heads_are_not() -> None:
    """With refinement, every layer of the reference has a class head of its own."""
    detector = fresh("deformable_detr_box_refine")
    assert (distinct(detector.class_embed), distinct(detector.bbox_embed)) == (1, 3)


def saved_with_own_heads(variant: str, folder: Path, equal: bool = False) -> None:
    """A file with a class head for every layer, as the reference's are; of equal values or not."""
    detector = fresh(variant)
    classes, width = detector.class_embed[0].weight.shape
    detector.class_embed = nn.ModuleList(nn.Linear(width, classes) for _ in detector.class_embed)
    if equal:
        for head in detector.class_embed:
            head.load_state_dict(detector.class_embed[0].state_dict())
    detector.save_pretrained(folder)


@pytest.mark.parametrize("variant", ONE_STAGE)
def test_other_labels_crash_on_a_file_of_distinct_heads(variant: str, tmp_path: Path) -> None:
    saved_with_own_heads(variant, tmp_path)
    assert distinct(DeformableDetrForObjectDetection.from_pretrained(tmp_path).class_embed) == 3
    with pytest.raises(NotImplementedError, match="aten::equal"):
        DeformableDetrForObjectDetection.from_pretrained(tmp_path, num_labels=9, ignore_mismatched_sizes=True)


@pytest.mark.parametrize("variant", ONE_STAGE)
def test_heads_of_equal_values_come_back_as_one(variant: str, tmp_path: Path) -> None:
    """What was saved before the first step learns as another network when it is loaded."""
    saved_with_own_heads(variant, tmp_path, equal=True)
    assert distinct(DeformableDetrForObjectDetection.from_pretrained(tmp_path).class_embed) == 1


def test_the_processor_of_detr_reads_sigmoids_as_a_softmax() -> None:
    """`pipeline` asks whichever processor was saved: DETR's knows one class a query, and never the last."""
    detector = family_detector("deformable_detr")
    with torch.no_grad():
        detector.class_embed[-1].bias[-1] += 10  # every query is sure of the last class
        out = detector(**inputs())

    def labels_found(processor: Any) -> Tensor:
        return processor.post_process_object_detection(out, threshold=0.9)[0]["labels"]

    last = detector.config.num_labels - 1
    assert (labels_found(ConditionalDetrImageProcessor()) == last).sum() == out.logits.shape[1]
    assert last not in labels_found(DetrImageProcessor())


# ---- how it computes


def test_a_reference_point_at_the_edge_is_infinite_in_half_precision() -> None:
    """0.00001, which keeps a logit finite, is lost beside 1 in both kinds."""
    assert inverse_sigmoid(torch.tensor(1.0, dtype=torch.float16)).isinf()
    assert inverse_sigmoid(torch.tensor(0.9995)).sigmoid() < 0.9996
    assert inverse_sigmoid(torch.tensor(0.9995, dtype=torch.bfloat16)).sigmoid() == 1


@torch.no_grad()
def test_boxes_are_refined_in_steps_of_bfloat16() -> None:
    detector = family_detector("deformable_detr_box_refine")
    with torch.autocast("cpu", torch.bfloat16):
        out = detector(**inputs())
    assert out.intermediate_reference_points.dtype == out.pred_boxes.dtype == torch.bfloat16


@pytest.mark.parametrize("variant", ["conditional_detr", "dab_detr", "deformable_detr"])
def test_nothing_of_a_timm_backbone_is_frozen(variant: str) -> None:
    """Stem and first stage are meant to be; "resnet" is looked for in a name that says "timm_backbone"."""
    learns = {name for name, parameter in fresh(variant).named_parameters() if parameter.requires_grad}
    assert any(name.endswith("model.conv1.0.weight") or name.endswith("conv1.weight") for name in learns)
    assert any("layer1" in name for name in learns)


@torch.no_grad()
def test_the_auxiliary_flag_makes_another_network_of_conditional_detr() -> None:
    detector, batch = family_detector("conditional_detr"), inputs()
    plain = detector(**batch).logits
    detector.config.auxiliary_loss = True
    assert relative_difference(detector(**batch).logits, plain) > 0.1


@torch.no_grad()
def test_boxes_of_the_segmenter_of_conditional_detr_leave_out_the_reference_points() -> None:
    torch.manual_seed(0)
    segmenter: Any = ConditionalDetrForSegmentation(family_config("conditional_detr"))
    randomized(segmenter)
    batch = {name: value for name, value in inputs().items() if name != "labels"}
    whole, detector = segmenter(**batch), segmenter.conditional_detr(**batch)
    assert relative_difference(whole.logits, detector.logits) < 1e-5
    assert (whole.pred_boxes - detector.pred_boxes).abs().max() > 0.2


@torch.no_grad()
def test_group_norms_average_over_the_padding() -> None:
    """So do those of the reference, which is kept. Without the norms, padding changes hardly anything."""
    detector, batch = family_detector("deformable_detr_single_scale"), inputs()

    def moved_by_padding() -> float:
        padded = detector(batch["pixel_values"], pixel_mask=batch["pixel_mask"]).pred_boxes[1]
        pixels, mask = batch["pixel_values"][1:, :, :32], batch["pixel_mask"][1:, :32]
        return (padded - detector(pixels, pixel_mask=mask).pred_boxes[0]).abs().max().item()

    assert moved_by_padding() > 0.02
    for projection in detector.model.input_proj:
        projection[1] = nn.Identity()
    assert moved_by_padding() < 2e-3


def test_dab_detr_refuses_checkpointing_that_its_layers_can_do() -> None:
    detector = fresh("dab_detr")
    with pytest.raises(ValueError, match="does not support"):
        detector.gradient_checkpointing_enable()
    assert {type(layer).__mro__[1].__name__ for layer in detector.model.decoder.layers} == {
        "GradientCheckpointingLayer"
    }
