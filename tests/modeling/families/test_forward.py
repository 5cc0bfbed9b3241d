"""Every family's forward pass: stock's after every decoder layer, whatever the padding and the precision."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.registry import family_of
from tests.family_models import LAYERS, VARIANTS, family_config, family_detector
from tests.tiny_models import random_batch
from tests.tiny_runs import NO_DROPOUT

SIZES = [(64, 128), (128, 64)]  # both are padded
CLOSE = 1e-5
SAME_BOX = 1e-3


def outputs(detector: Any, pixels: Tensor, mask: Tensor, all_layers: bool = True) -> DetectorOutput:
    return family_of(detector).run(detector, pixels, mask, all_layers)


def cut_after(detector: Any, layers: int) -> Any:
    """A stock model that ends in what was an inner decoder layer."""
    shorter = copy.deepcopy(detector)
    decoder = shorter.model.decoder
    decoder.layers, decoder.num_layers = decoder.layers[:layers], layers
    return shorter


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_logits_and_boxes_of_every_layer_are_those_of_stock(variant: str, training: bool) -> None:
    """Guards: auxiliary losses that change the network, heads of another layer, boxes around other points."""
    stock = family_detector(variant, **NO_DROPOUT).train(training)
    pixels, mask, _ = random_batch([0, 0], SIZES)
    ours = outputs(copy.deepcopy(stock), pixels, mask)
    assert len(ours.logits) == len(ours.boxes_cxcywh_norm) == LAYERS
    for layer in range(LAYERS):
        theirs = cut_after(stock, layer + 1)(pixels, pixel_mask=mask)
        torch.testing.assert_close(ours.logits[layer], theirs.logits, atol=CLOSE, rtol=CLOSE)
        torch.testing.assert_close(ours.boxes_cxcywh_norm[layer], theirs.pred_boxes, atol=CLOSE, rtol=0)
    last = outputs(copy.deepcopy(stock), pixels, mask, all_layers=False)
    assert torch.equal(last.logits[0], ours.logits[-1])
    assert torch.equal(last.boxes_cxcywh_norm[0], ours.boxes_cxcywh_norm[-1])
    apart = (ours.boxes_cxcywh_norm[1:] - ours.boxes_cxcywh_norm[:-1]).abs().amax((1, 2, 3))
    assert (apart > 0.01).all(), "the layers say different things"


# ---- padding


def as_initialized(variant: str, seed: int = 0, **settings: Any) -> Any:
    """A stock model that was never trained, but for heads that say more than zero."""
    torch.manual_seed(seed)
    detector = VARIANTS[variant][0](family_config(variant, **settings)).eval()
    if variant == "dab_detr":  # stock lets its boxes start at their queries, whatever the image
        torch.nn.init.normal_(detector.bbox_predictor.layers[-1].weight, std=0.02)
    return detector


def shift_by_padding(detector: Any) -> float:
    """How far padding moves a box of any layer, at most, in shares of the image."""
    pixels, mask, _ = random_batch([0, 0], SIZES)
    together, shifts = outputs(detector, pixels, mask), []
    for image, (height, width) in enumerate(SIZES):
        cut = (slice(image, image + 1), ..., slice(height), slice(width))
        alone = outputs(detector, pixels[cut], mask[cut])
        if together.further:  # which of the proposals go on is left to scores that are nearly equal
            [padded], [whole] = together.further, alone.further
            real = padded.boxes_cxcywh_norm[:, image, real_places(height, width)]
            shifts.append((real - whole.boxes_cxcywh_norm[:, 0]).abs().max())
        else:
            shifts.append((together.boxes_cxcywh_norm[:, image] - alone.boxes_cxcywh_norm[:, 0]).abs().max())
    return float(torch.stack(shifts).max())


def real_places(height: int, width: int) -> Tensor:
    """Which places of a canvas of 128 x 128 pixels are in an image, level after level."""
    canvas = torch.zeros(128, 128, dtype=torch.bool)
    canvas[:height, :width] = True
    return torch.cat([canvas[::stride, ::stride].flatten() for stride in (8, 16, 32, 64)])


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_an_image_alone_gives_the_boxes_of_one_in_a_padded_batch(variant: str) -> None:
    """Guards: a forward pass that drops the pixel mask or takes shares of the canvas for shares of the
    image."""
    assert shift_by_padding(as_initialized(variant)) < SAME_BOX


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_padding_moves_boxes_through_the_norm_of_the_projections_alone(variant: str) -> None:
    """Guards: the norm behind Deformable DETR's projections, which averages over the padding as well, in
    stock as in the reference. Without it, nothing in the networks sees how much padding there is.

    If the last assertion fails, stock leaves the padding out.
    """
    detector = family_detector(variant)
    projections = getattr(detector.model, "input_proj", ())
    stock = shift_by_padding(detector)
    for projection in projections:
        projection[1] = torch.nn.BatchNorm2d(projection[1].num_channels).eval()
    assert shift_by_padding(detector) < 0.02
    if len(projections):
        assert stock > 0.1


# ---- precision


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_boxes_under_autocast_are_those_of_float32(variant: str) -> None:
    """Guards: heads and reference points in half precision, where boxes of stock are thousandths off."""
    few = {"two_stage_num_proposals": 3} if variant.endswith("two_stage") else {}
    stock = as_initialized(variant, seed=4, **few)
    if few:  # proposals that keep their order
        torch.nn.init.normal_(stock.class_embed[-1].weight, std=1.0)
    detector = copy.deepcopy(stock)
    pixels, mask, _ = random_batch([0, 0], SIZES, seed=4)
    exact = outputs(detector, pixels, mask)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = outputs(detector, pixels, mask), stock(pixels, pixel_mask=mask)
    assert ours.boxes_cxcywh_norm.dtype == ours.logits.dtype == torch.float32
    off = float((ours.boxes_cxcywh_norm - exact.boxes_cxcywh_norm).abs().max())
    off_stock = float((theirs.pred_boxes - exact.boxes_cxcywh_norm[-1]).abs().max())
    assert off < SAME_BOX / 10 and off_stock > SAME_BOX / 2
