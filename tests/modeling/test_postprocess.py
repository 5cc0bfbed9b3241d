"""From network outputs to original pixels: by hand, against stock, and alone against in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DetrForSegmentation, DetrImageProcessor
from transformers.models.detr.modeling_detr import DetrObjectDetectionOutput

from detr_hf.modeling.families.base import DetectorOutput
from detr_hf.modeling.families.deformable_detr import DEFORMABLE_DETR
from detr_hf.modeling.families.detr import DETR
from detr_hf.modeling.panoptic_merge import MergeSettings, merge_masks
from detr_hf.modeling.postprocess import QueryScores, detections, resize_masks
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.modeling.task import PanopticTask
from tests.tiny_models import LABELS, random_batch, tiny_segmenter

PADDED = [(64, 96), (32, 128)]  # multiples of the coarsest stride: the same cells with and without padding


def test_boxes_come_in_original_pixels_inside_the_image_best_first() -> None:
    """Guards: a threshold of 0.5 by default, and boxes that reach outside the image."""
    logits = torch.tensor([[[0.0, 1.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 9.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.1, 0.9, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]]])
    target = {"image_id": 7, "size_hw": (64, 96), "original_size_hw": (100, 200)}
    (found,) = detections(DETR, DetectorOutput(logits[None], boxes[None]), [target])
    assert found.image_id == 7
    assert found.labels.tolist() == [
        0,
        1,
        1,
    ]  # the last is most likely nothing, and listed with its best class
    assert found.queries is not None and found.queries.tolist() == [1, 0, 2]
    assert found.above(0.6).queries.tolist() == [1]
    scores = [np.exp(3) / (np.exp(3) + 2), np.e / (np.e + 2), np.exp(2) / (1 + np.exp(2) + np.exp(9))]
    assert found.scores.tolist() == pytest.approx(scores)
    wanted = [[0, 70, 60, 100], [50, 25, 150, 75], [0, 0, 200, 100]]
    assert found.boxes_xyxy_px == pytest.approx(np.array(wanted), abs=1e-4)
    assert (found.boxes_xyxy_px.dtype, found.scores.dtype, found.labels.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )


def test_a_query_of_sigmoids_is_named_for_each_of_its_classes() -> None:
    logits, boxes = torch.tensor([[[-9.0, -3.0], [2.0, 1.0]]]), torch.full((1, 2, 4), 0.5)
    target = {"image_id": 7, "original_size_hw": (100, 200)}
    (found,) = detections(DEFORMABLE_DETR, DetectorOutput(logits[None], boxes[None]), [target])
    assert found.queries is not None and found.queries.tolist() == [1, 1, 0, 0]
    assert found.labels.tolist() == [0, 1, 1, 0]


def test_detections_equal_stock_post_processing_but_for_the_clipping() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, 6, generator=generator)
    boxes = torch.rand(2, 30, 4, generator=generator)
    sizes = [(100, 200), (333, 77)]
    targets = [{"image_id": index, "original_size_hw": size} for index, size in enumerate(sizes)]
    stock = DetrImageProcessor().post_process_object_detection(
        DetrObjectDetectionOutput(logits=logits, pred_boxes=boxes), threshold=0.0, target_sizes=sizes
    )
    for found, theirs, (height, width) in zip(
        detections(DETR, DetectorOutput(logits[None], boxes[None]), targets), stock, sizes, strict=True
    ):
        order = theirs["scores"].argsort(descending=True)
        assert found.scores == pytest.approx(theirs["scores"][order].numpy())
        assert found.labels.tolist() == theirs["labels"][order].tolist()
        raw = theirs["boxes"][order].numpy()
        assert raw.min() < 0  # stock leaves boxes outside the image
        assert found.boxes_xyxy_px == pytest.approx(
            np.clip(raw, 0, [width, height, width, height]), rel=1e-4, abs=1e-2
        )


# ---- mask resizing


def test_masks_are_cut_before_they_are_stretched() -> None:
    """Guards: padding that is stretched over the photograph with the masks.

    The image takes the upper left quarter of its canvas; rubbish in the padding does not reach it.
    """
    row = torch.linspace(-1, 1, 8)
    ramp = row.expand(1, 8, 8)
    canvas = torch.full((1, 16, 16), 50.0)
    canvas[:, :9, :9] = torch.cat([row, row[-1:]])  # the edge cell is repeated once
    alone = functional.interpolate(ramp[:, None], (32, 32), mode="bilinear")[:, 0]
    assert torch.allclose(resize_masks(canvas, (64, 64), (32, 32), (32, 32)), alone, atol=1e-6)
    twice = resize_masks(canvas, (64, 64), (32, 32), (64, 64))
    assert twice.shape == (1, 64, 64)
    assert twice.max() <= 1.0
    wrong = functional.interpolate(canvas[:, None], (64, 64), mode="bilinear")
    assert wrong.max() > 40  # what stretching the whole canvas over the photograph would give


def test_an_image_that_fills_its_canvas_is_stretched_once() -> None:
    masks = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(0))
    once = functional.interpolate(masks[:, None], (50, 70), mode="bilinear")[:, 0]
    assert torch.equal(resize_masks(masks, (32, 48), (32, 48), (50, 70)), once)


def test_no_masks_keep_the_size_of_the_photograph() -> None:
    assert resize_masks(torch.zeros(0, 8, 8), (32, 32), (32, 20), (50, 70)).shape == (0, 50, 70)


# ---- whole panoptic predictions


def predict(
    model: DetrForSegmentation,
    batch: tuple[Tensor, Tensor, list[dict]],
    score_threshold: float,
    chunk: int = 3,
) -> list[PanopticPrediction]:
    merge = MergeSettings(score_threshold, mask_threshold=0.4)
    return PanopticTask(model, LABELS, merge=merge, mask_chunk=chunk).predict(*batch)


def alone(batch: tuple[Tensor, Tensor, list[dict]], index: int) -> tuple[Tensor, Tensor, list[dict]]:
    """One image of a batch, without the padding."""
    pixel_values, pixel_mask, targets = batch
    height, width = targets[index]["size_hw"]
    cut = slice(index, index + 1), ..., slice(height), slice(width)
    return pixel_values[cut], pixel_mask[cut], [targets[index]]


def with_originals(
    batch: tuple[Tensor, Tensor, list[dict]], scale: float
) -> tuple[Tensor, Tensor, list[dict]]:
    targets = [
        {**target, "original_size_hw": tuple(round(scale * side) for side in target["size_hw"])}
        for target in batch[2]
    ]
    return batch[0], batch[1], targets


@pytest.fixture(scope="module")
def model() -> DetrForSegmentation:
    return tiny_segmenter("test_convnext3", num_queries=12)


@torch.no_grad()
def test_segments_equal_the_long_way_round(model: DetrForSegmentation) -> None:
    """All masks of the stock model, filtered, stretched and merged: the same id map."""
    batch = with_originals(random_batch([0, 0], [(64, 96)] * 2), 1.5)
    stock = model(pixel_values=batch[0], pixel_mask=batch[1])
    scores, labels = stock.logits.softmax(-1).max(-1)
    segments = 0
    for index, found in enumerate(predict(model, batch, score_threshold=0.5)):
        keep = (scores[index] > 0.5) & (labels[index] < LABELS.num_classes)
        masks = functional.interpolate(stock.pred_masks[index : index + 1, keep], (96, 144), mode="bilinear")[
            0
        ]
        id_map, wanted = merge_masks(masks, labels[index, keep], scores[index, keep], LABELS.stuff_ids, 0.4)
        assert np.array_equal(found.id_map, id_map.numpy())
        assert [(s.id, s.category_id, pytest.approx(s.score)) for s in found.segments] == wanted
        assert found.id_map.dtype == np.int32
        assert len(found.detections.scores) == 12
        segments += len(wanted)
    assert segments >= 3


def test_only_confident_queries_that_are_something_pass_the_mask_head() -> None:
    """Guards: masks of all queries, as the stock model makes them, though few are shown."""
    model = tiny_segmenter("test_convnext3", num_queries=12)
    batch = random_batch([0, 0], [(64, 96)] * 2)
    with torch.no_grad():
        logits = model.detr(batch[0], batch[1]).logits
        lead = (logits[..., :-1].amax(-1) - logits[..., -1]).median()
        model.detr.class_labels_classifier.bias[-1] += lead  # now every other query sees nothing
        probabilities = model.detr(batch[0], batch[1]).logits.softmax(-1)
    score, label = probabilities.max(-1)
    passed: list[int] = []
    model.mask_head.conv2.register_forward_hook(lambda _m, inputs, _o: passed.append(len(inputs[0])))
    for share in (0.3, 0.7):
        threshold = score.quantile(share).item()
        passed.clear()
        predict(model, batch, threshold, chunk=100)
        confident, something = score > threshold, label < LABELS.num_classes
        assert passed == [(confident & something).sum().item()]
        assert 0 < passed[0] < min(confident.sum(), something.sum())


def test_nothing_above_the_threshold_is_all_void(model: DetrForSegmentation) -> None:
    """Guards: "nothing found" as a map of -1 in floats, where other maps are integers and 0 is void."""
    batch = with_originals(random_batch([0], (64, 96)), 2.0)
    (found,) = predict(model, batch, score_threshold=1.0)
    assert found.id_map.shape == (128, 192)
    assert not found.id_map.any()
    assert found.segments == []
    assert len(found.detections.scores) == 12


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext3"])
def test_a_batch_of_equal_sizes_is_image_by_image(backbone: str) -> None:
    segmenter = tiny_segmenter(backbone)
    batch = with_originals(random_batch([0] * 3, [(64, 96)] * 3), 1.3)
    together = predict(segmenter, batch, 0.3)
    for index, found in enumerate(together):
        (single,) = predict(segmenter, alone(batch, index), 0.3)
        assert found.detections.boxes_xyxy_px == pytest.approx(single.detections.boxes_xyxy_px, abs=0.01)
        assert found.detections.scores == pytest.approx(single.detections.scores, abs=1e-4)
        assert (found.id_map == single.id_map).mean() > 0.999
        assert [(s.id, s.category_id) for s in found.segments] == [
            (s.id, s.category_id) for s in single.segments
        ]


@torch.no_grad()
def test_padding_moves_no_box_and_masks_a_little(model: DetrForSegmentation) -> None:
    """Guards: boxes read as shares of the padded canvas.

    The blocks of a fresh ConvNeXt hardly mix neighbors, so boxes must agree exactly. Masks cannot: the mask
    head's group norms average over the padding, in the stock model too. That is why evaluation groups images
    by size.
    """
    batch = with_originals(random_batch([0, 0], PADDED), 2.0)
    for index, found in enumerate(predict(model, batch, 0.3)):
        single_batch = alone(batch, index)
        (single,) = predict(model, single_batch, 0.3)
        assert found.detections.boxes_xyxy_px == pytest.approx(single.detections.boxes_xyxy_px, abs=0.05)
        assert found.detections.scores == pytest.approx(single.detections.scores, abs=1e-3)
        size_hw = batch[2][index]["original_size_hw"]
        assert found.id_map.shape == single.id_map.shape == size_hw
        masks, wanted = (resized_masks(model, batch, index), resized_masks(model, single_batch, 0))
        assert masks.shape == wanted.shape == (12, *size_hw)
        assert (masks - wanted).abs().mean() < 0.1


def resized_masks(model: DetrForSegmentation, batch: tuple[Tensor, Tensor, list[dict]], index: int) -> Tensor:
    """Mask probabilities of all queries of one image of a batch, in original pixels."""
    logits = model(pixel_values=batch[0], pixel_mask=batch[1]).pred_masks[index]
    target = batch[2][index]
    return resize_masks(logits, batch[0].shape[-2:], target["size_hw"], target["original_size_hw"]).sigmoid()


# ---- which queries are kept


def test_a_mask_must_be_likelier_than_no_object_and_a_box_only_sure_enough() -> None:
    # probabilities of two classes and "no object"
    sure, unsure, beaten, even = [0.9, 0.06, 0.04], [0.3, 0.3, 0.4], [0.1, 0.4, 0.5], [0.2, 0.4, 0.4]
    queries = QueryScores.of(DETR, torch.tensor([[sure, unsure, beaten, even]]).log())
    assert queries.labels.tolist() == [[0, 0, 1, 1]]
    assert queries.scores[0].tolist() == pytest.approx([0.9, 0.3, 0.4, 0.4])
    assert queries.kept(0.35, with_masks=False).tolist() == [[True, False, True, True]]
    assert queries.kept(0.35, with_masks=True).tolist() == [[True, False, False, True]]
    assert queries.kept(float(queries.scores[0, 0]), with_masks=True).sum() == 0  # must be above it
