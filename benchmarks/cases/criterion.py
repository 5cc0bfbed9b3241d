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
from detr_hf.modeling.criterion import Normalizers, box_losses, class_loss, mask_losses
from detr_hf.modeling.matcher import Matches, MatchingCosts, match

LAYERS = 6
WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


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
    normalizers = Normalizers.of_targets(targets, settings.queries, eos_coefficient=0.1)
    pairs = Matches(torch.zeros_like(out.image), out.image, out.object_index, out.object_index)
    found: dict[str, Any] = {}

    def criterion() -> None:
        out.forget_gradients()
        matches = match(out.logits.detach(), out.boxes.detach(), targets, MatchingCosts())
        terms = {"loss_ce": class_loss(out.logits, targets, matches, 0.1, normalizers)}
        terms["loss_bbox"], terms["loss_giou"] = box_losses(out.boxes, targets, matches, normalizers)
        torch.stack([WEIGHTS[name] * term.sum() for name, term in terms.items()]).sum().backward()
        found.update(terms, matches=matches)

    def masks() -> Tensor:
        out.forget_gradients()
        focal, dice = mask_losses(out.masks, targets, pairs, settings.size, normalizers)
        (focal + dice).backward()
        return torch.stack([focal, dice]).detach()

    def outcome() -> dict[str, Any]:
        found_pairs = found["matches"]
        rows = torch.stack(
            [found_pairs.layer, found_pairs.image, found_pairs.query, found_pairs.object_index], 1
        )
        equal = {"matches": rows, **{name: found[name] for name in WEIGHTS}, **_gradients(out)}
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
        terms = {name: torch.stack([found[name + layer] for layer in layers]) for name in WEIGHTS}
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
