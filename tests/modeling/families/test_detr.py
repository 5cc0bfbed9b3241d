"""One forward pass of the stock detector: the same outputs, plus those of the inner decoder layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import DetrForObjectDetection

from detr_hf.modeling.families.detr import DETR
from tests.tiny_models import gradient_difference, gradients, random_batch, relative_difference, tiny_detector

SIZES = [(64, 96), (32, 128)]  # both are padded
CLOSE = 1e-5
EXACT = 1e-9  # in float64


def batch() -> tuple[Tensor, Tensor]:
    return random_batch([1, 1], SIZES)[:2]


@pytest.fixture(scope="module", params=["test_resnet", "test_convnext3"])
def detector(request: pytest.FixtureRequest) -> DetrForObjectDetection:
    return tiny_detector(request.param)


@torch.no_grad()
def test_logits_boxes_and_queries_equal_the_stock_model(detector: DetrForObjectDetection) -> None:
    """Guards: a final norm that is applied twice, or to what the next layer is fed."""
    pixel_values, pixel_mask = batch()
    stock = detector(pixel_values=pixel_values, pixel_mask=pixel_mask)
    for all_layers in (False, True):
        ours = DETR.run(detector, pixel_values, pixel_mask, all_layers)
        assert len(ours.logits) == len(ours.boxes_cxcywh_norm) == (3 if all_layers else 1)
        assert relative_difference(ours.logits[-1], stock.logits) < CLOSE
        assert relative_difference(ours.boxes_cxcywh_norm[-1], stock.pred_boxes) < CLOSE
        assert relative_difference(ours.panoptic.queries, stock.last_hidden_state) < CLOSE
        memory = stock.encoder_last_hidden_state.transpose(1, 2)
        assert relative_difference(ours.panoptic.memory.flatten(2), memory) < CLOSE


@torch.no_grad()
def test_the_pixel_mask_counts(detector: DetrForObjectDetection) -> None:
    """Guards: a forward pass that drops the pixel mask, as the official example does."""
    pixel_values, pixel_mask = batch()
    ours = DETR.run(detector, pixel_values, pixel_mask, all_layers=False)
    maskless = DETR.run(detector, pixel_values, torch.ones_like(pixel_mask), all_layers=False)
    assert relative_difference(maskless.logits, ours.logits) > 0.01
    seen = ours.panoptic.memory_mask.int().tolist()
    assert seen == [
        [[1, 1, 1, 0], [1, 1, 1, 0]],
        [[1, 1, 1, 1], [0, 0, 0, 0]],
    ]


@torch.no_grad()
def test_feature_maps_run_from_fine_to_coarse(detector: DetrForObjectDetection) -> None:
    pixel_values, pixel_mask = batch()
    ours = DETR.run(detector, pixel_values, pixel_mask, all_layers=False)
    assert [feature_map.shape[-2] for feature_map in ours.panoptic.feature_maps] == [16, 8, 4, 2]
    projected = detector.model.input_projection(ours.panoptic.feature_maps[-1])
    torch.testing.assert_close(ours.panoptic.projected, projected)


@torch.no_grad()
def test_inner_layers_are_the_shared_norm_of_raw_layer_outputs(detector: DetrForObjectDetection) -> None:
    """Guards: auxiliary outputs from normed layers, as the config flag for auxiliary losses gives them."""
    pixel_values, pixel_mask = batch()
    ours = DETR.run(detector, pixel_values, pixel_mask, all_layers=True)
    recorded = detector.model(pixel_values, pixel_mask, output_hidden_states=True).decoder_hidden_states
    assert len(recorded) == 4  # the input, two raw outputs, and the last one with its norm applied
    norm = detector.model.decoder.layernorm
    for layer, hidden in enumerate(recorded[1:3]):
        logits = detector.class_labels_classifier(norm(hidden))
        boxes = detector.bbox_predictor(norm(hidden)).sigmoid()
        assert relative_difference(ours.logits[layer], logits) < CLOSE
        assert relative_difference(ours.boxes_cxcywh_norm[layer], boxes) < CLOSE


@torch.no_grad()
def test_stock_auxiliary_loss_is_another_network() -> None:
    """Guards: config.auxiliary_loss, which feeds every decoder layer the normed output of the one before."""
    detector = tiny_detector()
    pixel_values, pixel_mask = batch()
    ours = DETR.run(detector, pixel_values, pixel_mask, all_layers=True)
    detector.config.auxiliary_loss = True
    stock = detector(pixel_values=pixel_values, pixel_mask=pixel_mask)
    assert relative_difference(stock.logits, ours.logits[-1]) > 0.05


@pytest.mark.usefixtures("float64")
def test_gradients_of_the_last_layer_equal_the_stock_model() -> None:
    ours, theirs = tiny_detector(), tiny_detector()
    pixel_values, pixel_mask = batch()
    detected = DETR.run(ours, pixel_values, pixel_mask, all_layers=False)
    (detected.logits.square().sum() + detected.boxes_cxcywh_norm.square().sum()).backward()
    stock = theirs(pixel_values=pixel_values, pixel_mask=pixel_mask)
    (stock.logits.square().sum() + stock.pred_boxes.square().sum()).backward()
    assert gradient_difference(gradients(ours), gradients(theirs)) < EXACT


def test_every_layer_learns_from_its_own_output() -> None:
    detector = tiny_detector()
    detected = DETR.run(detector, *batch(), all_layers=True)
    detected.logits[0].sum().backward()
    with_gradient = [
        any(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())
        for layer in detector.model.decoder.layers
    ]
    assert with_gradient == [True, False, False]
    assert detector.model.decoder.layernorm.weight.grad.any()


def test_no_hook_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = tiny_detector()
    DETR.run(detector, *batch(), all_layers=True)

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the decoder stopped half-way")

    monkeypatch.setattr(detector.model.decoder.layernorm, "forward", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        DETR.run(detector, *batch(), all_layers=True)
    assert all(not layer._forward_hooks for layer in detector.model.decoder.layers)


@torch.no_grad()
def test_heads_stay_in_float32_under_autocast() -> None:
    """Guards: bfloat16 boxes. Near 0.7 their step is 0.004, five pixels of a 1333-pixel image."""
    detector = tiny_detector()
    seen: dict[str, torch.dtype] = {}
    for head in ("class_labels_classifier", "bbox_predictor"):
        getattr(detector, head).register_forward_hook(
            lambda module, inputs, output, head=head: seen.__setitem__(head, output.dtype)
        )
    with torch.autocast("cpu", torch.bfloat16):
        pixel_values, pixel_mask = batch()
        ours = DETR.run(detector, pixel_values, pixel_mask, all_layers=True)
        assert ours.logits.dtype == ours.boxes_cxcywh_norm.dtype == torch.float32
        assert seen == {"class_labels_classifier": torch.float32, "bbox_predictor": torch.float32}
        assert ours.panoptic.projected.dtype == torch.bfloat16  # the rest is as fast as asked for
        stock = tiny_detector()(pixel_values=pixel_values, pixel_mask=pixel_mask)
        assert stock.pred_boxes.dtype == torch.bfloat16
    assert (ours.boxes_cxcywh_norm != ours.boxes_cxcywh_norm.bfloat16()).any()


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    detector = tiny_detector(dropout=0.3)
    inputs = batch()

    def twice(mode: bool) -> bool:
        nn.Module.train(detector, mode)
        first, second = (DETR.run(detector, *inputs, all_layers=False).logits for _ in range(2))
        return torch.equal(first, second)

    assert not twice(True)
    assert twice(False)
