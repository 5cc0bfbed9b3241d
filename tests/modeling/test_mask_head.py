"""The mask head for chosen queries: the stock head's values and gradients at a fraction of its work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import DetrForSegmentation

from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.mask_head import mask_logits
from tests.tiny_models import (
    gradient_difference,
    gradients,
    random_batch,
    relative_difference,
    timm_backbone,
    tiny_segmenter,
)

CLOSE = 1e-5
EXACT = 1e-9  # in float64
QUERIES = 7
SIZES = [(64, 96), (32, 128)]
SOME = (torch.tensor([0, 0, 1, 0, 1]), torch.tensor([6, 2, 2, 0, 5]))  # image, query: in no order


def every_query(images: int = 2) -> tuple[Tensor, Tensor]:
    return torch.arange(images).repeat_interleave(QUERIES), torch.arange(QUERIES).repeat(images)


def batch(sizes: list[tuple[int, int]] = SIZES) -> tuple[Tensor, Tensor]:
    return random_batch([1] * len(sizes), sizes)[:2]


def detected_by(model: DetrForSegmentation, sizes: list[tuple[int, int]] = SIZES) -> DetectorOutput:
    with torch.no_grad():
        return DETR.run(model.detr, *batch(sizes), all_layers=False)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext3"])
@pytest.mark.parametrize(
    "sizes", [[(64, 96)] * 2, SIZES, [(50, 70), (61, 33)]], ids=["equal", "padded", "odd"]
)
@torch.no_grad()
def test_masks_of_all_queries_equal_the_stock_model(backbone: str, sizes: list[tuple[int, int]]) -> None:
    """Guards: adapters before expansion, and the split of the first convolution, change no value."""
    model = tiny_segmenter(backbone)
    pixel_values, pixel_mask = batch(sizes)
    stock = model(pixel_values=pixel_values, pixel_mask=pixel_mask).pred_masks
    ours = mask_logits(model, detected_by(model, sizes), *every_query(), chunk=100)
    assert relative_difference(ours, stock.flatten(0, 1)) < CLOSE
    between_queries = stock.std(1).mean() / stock.std()
    assert between_queries > 100 * CLOSE  # or else any query would do


@torch.no_grad()
def test_the_three_finest_of_five_maps_are_used_like_the_stock_model() -> None:
    model = tiny_segmenter(timm_backbone(out_indices=[0, 1, 2, 3, 4]))
    pixel_values, pixel_mask = batch()
    stock = model(pixel_values=pixel_values, pixel_mask=pixel_mask).pred_masks
    ours = mask_logits(model, detected_by(model), *every_query(), chunk=100)
    assert ours.shape[-2:] == (32, 64)
    assert relative_difference(ours, stock.flatten(0, 1)) < CLOSE


@torch.no_grad()
def test_chosen_queries_are_given_in_the_order_asked_for() -> None:
    model = tiny_segmenter()
    detected = detected_by(model)
    every = mask_logits(model, detected, *every_query(), chunk=100).unflatten(0, (2, QUERIES))
    image, query = SOME
    ours = mask_logits(model, detected, image, query, chunk=100)
    assert relative_difference(ours, every[image, query]) < CLOSE


@pytest.mark.usefixtures("float64")
def test_any_chunk_gives_the_same_masks_and_gradients() -> None:
    outcomes = []
    for chunk in (100, 5, 3, 1):
        model = tiny_segmenter()
        detected = detected_by(model)
        masks = mask_logits(model, detected, *SOME, chunk=chunk)
        (masks * torch.linspace(-1, 1, masks.numel()).view_as(masks)).sum().backward()
        outcomes.append((masks.detach(), gradients(model)))
    masks, wanted = outcomes[0]
    heads = [name for name in dict(model.named_parameters()) if not name.startswith("detr.")]
    assert set(wanted) == set(heads)
    for other_masks, others in outcomes[1:]:
        assert relative_difference(other_masks, masks) < EXACT
        assert gradient_difference(others, wanted) < EXACT


def test_several_threads_add_a_gradient_up_in_the_same_order_every_time() -> None:
    """Guards: the gradient of ``map[image]``, where threads add to one image in the order they get there."""
    threads, wanted = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(4)
        torch.use_deterministic_algorithms(False)
        model = tiny_segmenter()
        detected = detected_by(model)
        image, query = torch.tensor([0, 1]).repeat_interleave(6), torch.arange(6).repeat(2)
        found = []
        for _ in range(12):
            model.zero_grad()
            mask_logits(model, detected, image, query, chunk=None).square().sum().backward()
            found.append(gradients(model))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(wanted, warn_only=True)
    for other in found[1:]:
        for name, gradient in found[0].items():
            assert torch.equal(gradient, other[name]), name


@pytest.mark.usefixtures("float64")
def test_gradients_equal_the_stock_model_also_in_the_detector() -> None:
    ours, theirs = tiny_segmenter(), tiny_segmenter()
    pixel_values, pixel_mask = batch()
    image, query = SOME
    masks = mask_logits(ours, DETR.run(ours.detr, pixel_values, pixel_mask, False), image, query, chunk=2)
    stock = theirs(pixel_values=pixel_values, pixel_mask=pixel_mask).pred_masks[image, query]
    ramp = torch.linspace(-1, 1, masks.numel()).view_as(masks)
    (masks * ramp).sum().backward()
    (stock * ramp).sum().backward()
    mine, stocks = gradients(ours), gradients(theirs)
    assert any(name.startswith("detr.model.backbone") for name in mine)
    assert gradient_difference(mine, stocks) < EXACT


class Traffic:
    """How many samples pass through each convolution of the mask head."""

    def __init__(self, model: DetrForSegmentation):
        self.samples: dict[str, list[int]] = {}
        for name, module in model.mask_head.named_modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _m, inputs, _o, name=name: self.note(name, inputs[0]))

    def note(self, name: str, samples: Tensor) -> None:
        self.samples.setdefault(name, []).append(len(samples))


@torch.no_grad()
def test_only_chosen_queries_pass_and_adapters_run_once_an_image() -> None:
    """Guards: the stock order, which widens the raw maps to every query before the adapters narrow them."""
    model = tiny_segmenter()
    detected = detected_by(model)
    traffic = Traffic(model)
    mask_logits(model, detected, *SOME, chunk=2)
    expanded = ["conv2.conv", "fpn_stages.0.refine.conv", "fpn_stages.2.refine.conv", "output_conv"]
    assert [traffic.samples[name] for name in expanded] == [[2, 2, 1]] * 4
    assert [traffic.samples[f"fpn_stages.{stage}.fpn_adapter"] for stage in range(3)] == [[2]] * 3
    stock = Traffic(model)
    pixel_values, pixel_mask = batch()
    model(pixel_values=pixel_values, pixel_mask=pixel_mask)
    assert stock.samples["conv2.conv"] == [2 * QUERIES]
    assert stock.samples["fpn_stages.0.fpn_adapter"] == [2 * QUERIES]


def test_activations_are_recomputed_only_where_that_saves_memory() -> None:
    def passes_of(chunk: int) -> list[int]:
        model = tiny_segmenter()
        detected = detected_by(model)
        traffic = Traffic(model)
        mask_logits(model, detected, *SOME, chunk=chunk).sum().backward()
        return traffic.samples["conv2.conv"]

    assert passes_of(5) == [5]  # one chunk holds all
    forward, again = passes_of(2)[:3], passes_of(2)[3:]
    assert forward == [2, 2, 1]
    assert sorted(again) == [1, 2, 2]


@pytest.mark.parametrize("train", [True, False])
def test_no_query_gives_no_mask(train: bool) -> None:
    model = tiny_segmenter()
    nothing = torch.zeros(0, dtype=torch.int64)
    with torch.set_grad_enabled(train):
        masks = mask_logits(model, detected_by(model), nothing, nothing, chunk=4)
    assert masks.shape == (0, 16, 32)


@torch.no_grad()
def test_padding_gets_no_attention() -> None:
    """What stands in the padding of the encoder's output changes no mask."""
    model = tiny_segmenter()
    detected = detected_by(model)
    before = mask_logits(model, detected, *SOME, chunk=8)
    padding = ~detected.panoptic.memory_mask[:, None].expand_as(detected.panoptic.memory)
    assert padding.any()
    detected.panoptic.memory = detected.panoptic.memory.masked_fill(padding, 99.0)
    torch.testing.assert_close(mask_logits(model, detected, *SOME, chunk=8), before)
