"""The criterion alone, forward and backward: matching, class and box losses of six decoder layers.

The stock forward pass with auxiliary losses is another network, but the stock criterion given the layers'
outputs is right, and so can be compared: matched pairs, terms and gradients. The mask losses of the last
layer are a variant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, HungarianMatcher, ImageLoss

from benchmarks.cases import Side
from benchmarks.inputs import LABELS, config_of, targets_of
from benchmarks.settings import Settings
from detr_hf.geometry import masks_of_segments
from detr_hf.modeling.class_scores import SOFTMAX
from detr_hf.modeling.criterion import SetCriterion
from detr_hf.modeling.loss_terms import BOX_TERMS, MASK_TERMS, LossSettings, Matched, MatchedMasks
from detr_hf.modeling.matcher import Matches

LAYERS = 6
TERMS = ("loss_ce", "loss_bbox", "loss_giou")


class _Outputs:
    """Random outputs of a detector, as leaves that gather gradients."""

    def __init__(self, settings: Settings):
        generator = torch.Generator().manual_seed(settings.seed)
        shape = (LAYERS, settings.images, settings.queries)
        self.logits = torch.randn(*shape, LABELS.num_classes + 1, generator=generator).requires_grad_()
        self.boxes = (0.1 + 0.5 * torch.rand(*shape, 4, generator=generator)).requires_grad_()
        pairs = [(image, n) for image, count in enumerate(settings.objects_of_images) for n in range(count)]
        self.image, self.object_index = torch.tensor(pairs).T
        quarter = (settings.size[0] // 4, settings.size[1] // 4)
        self.masks = torch.randn(len(pairs), *quarter, generator=generator).requires_grad_()

    def forget_gradients(self) -> None:
        self.logits.grad = self.boxes.grad = self.masks.grad = None


def ours(settings: Settings) -> Side:
    """All layers in one go."""
    out, targets = _Outputs(settings), targets_of(settings)
    boxes_only = SetCriterion(LossSettings(), BOX_TERMS, SOFTMAX)
    masks_only = SetCriterion(LossSettings(), MASK_TERMS, SOFTMAX)
    normalizers = boxes_only.normalizers(targets, settings.queries)
    pairs = Matches(torch.zeros_like(out.image), out.image, out.object_index, out.object_index)
    found: dict[str, Any] = {}

    def criterion() -> None:
        out.forget_gradients()
        matched = boxes_only.matched(out.logits, out.boxes, targets, normalizers)
        boxes_only(matched)["loss"].backward()
        found.update(matched=matched)

    def masks() -> Tensor:
        out.forget_gradients()
        cut = MatchedMasks.of(out.masks, targets, pairs, settings.size)
        last = out.logits[-1:], out.boxes[-1:]
        terms = masks_only(Matched(*last, targets, pairs, normalizers, LossSettings(), masks=cut))
        terms["loss"].backward()
        return torch.stack([terms["loss_mask"], terms["loss_dice"]])

    def outcome() -> dict[str, Any]:
        matched: Matched = found["matched"]
        found_pairs = matched.matches
        rows = torch.stack(
            [found_pairs.layer, found_pairs.image, found_pairs.query, found_pairs.object_index], 1
        )
        terms = {term.name: term.function(matched).detach() for term in BOX_TERMS}
        equal = {"matches": rows, **terms, **_gradients(out)}
        return {**equal, "mask losses": masks(), "gradient of masks": out.masks.grad}

    return Side(criterion, outcome, {"mask losses": masks})


def stock(settings: Settings) -> Side:
    """The stock loss function with auxiliary outputs."""
    out, targets = _Outputs(settings), targets_of(settings)
    config = config_of(settings)
    config.auxiliary_loss = True
    labels = [
        {
            "class_labels": target["class_labels"],
            "boxes": target["boxes_cxcywh_norm"],
            "masks": masks_of_segments(target["id_map"], target["segment_ids"]),
        }
        for target in targets
    ]
    matcher = HungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
    mask_criterion = ImageLoss(matcher, LABELS.num_classes, config.eos_coefficient, ["masks"])
    indices = [
        (torch.arange(count), torch.arange(count))  # query n of an image has object n
        for count in settings.objects_of_images
    ]
    found: dict[str, Tensor] = {}

    def criterion() -> None:
        out.forget_gradients()
        loss, terms, _ = ForObjectDetectionLoss(
            out.logits[-1], labels, out.logits.device, out.boxes[-1], config, out.logits, out.boxes
        )
        loss.backward()
        found.update(terms)

    def masks() -> Tensor:
        out.forget_gradients()
        by_image = torch.zeros(settings.images, max(settings.objects_of_images), *out.masks.shape[1:])
        by_image = by_image.index_put((out.image, out.object_index), out.masks)
        terms = mask_criterion.loss_masks({"pred_masks": by_image}, labels, indices, float(len(out.image)))
        (terms["loss_mask"] + terms["loss_dice"]).backward()
        return torch.stack([terms["loss_mask"], terms["loss_dice"]]).detach()

    def outcome() -> dict[str, Any]:
        layers = [*(f"_{layer}" for layer in range(LAYERS - 1)), ""]
        terms = {name: torch.stack([found[name + layer] for layer in layers]) for name in TERMS}
        equal = {"matches": _stock_matches(matcher, out, labels), **terms, **_gradients(out)}
        return {**equal, "mask losses": masks(), "gradient of masks": out.masks.grad}

    return Side(criterion, outcome, {"mask losses": masks})


def _stock_matches(matcher: HungarianMatcher, out: _Outputs, labels: list[dict]) -> Tensor:
    """Rows of layer, image, query, object."""
    rows = []
    for layer in range(LAYERS):
        found = matcher({"logits": out.logits[layer], "pred_boxes": out.boxes[layer]}, labels)
        for image, (queries, objects) in enumerate(found):
            rows += [(layer, image, int(q), int(n)) for q, n in zip(queries, objects, strict=True)]
    return torch.tensor(rows)


def _gradients(out: _Outputs) -> dict[str, Any]:
    return {"gradient of logits": out.logits.grad, "gradient of boxes": out.boxes.grad}
