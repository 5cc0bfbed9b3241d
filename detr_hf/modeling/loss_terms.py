"""The losses of DETR (Carion et al. 2020, eq. 2, appendix A.2; masks: section 4.4) as a table of terms.

A loss term is a row: its name in logs, its coefficient, and a function of ``Matched`` that gives one value
for each decoder layer. A new loss is one function and one row.

Every term is a plain SUM over what one process sees in one forward pass, divided by a normalizer of the whole
optimizer step (``normalizers.py``): the sum over micro-batches and processes is the loss of the whole step,
however it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from detr_hf.geometry import boxes_cxcywh_to_xyxy, masks_of_segments, paired_giou
from detr_hf.modeling.matcher import Matches, MatchingCosts
from detr_hf.modeling.normalizers import Normalizers


@dataclass(frozen=True)
class LossSettings:
    """Coefficients of the loss terms and what else the criterion needs; the paper's by default.

    Attributes:
        eos_coefficient: weight of "no object" inside the class term, against 1 for every class; read where
            logits have one.
        class_weights: weights of the C classes inside the class term; None: 1 for each.
        auxiliary: whether every decoder layer is supervised, or the last one alone.
        focal_alpha: weight of the foreground against ``1 - focal_alpha`` in the focal terms.
        focal_gamma: their exponent.
    """

    class_loss_coefficient: float = 1.0
    bbox_loss_coefficient: float = 5.0
    giou_loss_coefficient: float = 2.0
    mask_loss_coefficient: float = 1.0
    dice_loss_coefficient: float = 1.0
    eos_coefficient: float = 0.1
    class_weights: Sequence[float] | None = None
    auxiliary: bool = True
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    costs: MatchingCosts = field(default_factory=MatchingCosts)


@dataclass(frozen=True)
class MatchedMasks:
    """Mask logits of the matched queries, cut to the real image, beside the truth.

    Attributes:
        logits: ``[M, h, w]`` as the mask head gave them.
        pairs: for every image with objects, logits and truth ``[N, H, W]`` in the pixels of the image without
            padding.
    """

    logits: Tensor
    pairs: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(
        cls, logits: Tensor, targets: Sequence[Mapping], matches: Matches, canvas_hw: tuple[int, int]
    ) -> MatchedMasks:
        """As in the reference, predictions are upsampled bilinearly to the canvas and compared with the
        full-size truth. Unlike it, the canvas is then cut to the real image, so that padding never enters the
        mean of the focal term.

        Args:
            logits: ``[M, h, w]`` one map for each pair, in the order of ``matches``.
            targets: dicts with ``id_map int32 [H, W]``, ``segment_ids [N]`` and ``size_hw`` (without
                padding).
            matches: pairs of one layer, ordered by image.
            canvas_hw: height and width of the padded batch in pixels.
        """
        # one copy to the host: a GPU would be waited for at every boolean index
        counts = torch.bincount(matches.image, minlength=len(targets)).tolist()
        pairs = []
        matched = logits[: sum(counts)]  # where nothing is matched, one query is there for the graph's sake
        images = zip(targets, matched.split(counts), matches.object_index.split(counts), strict=True)
        for target, of_image, object_index in images:
            if len(of_image) == 0:
                continue
            height, width = target["size_hw"]
            truth = masks_of_segments(target["id_map"], target["segment_ids"][object_index]).to(logits.dtype)
            full = functional.interpolate(of_image[:, None], canvas_hw, mode="bilinear")
            pairs.append((full[:, 0, :height, :width], truth))
        return cls(logits, pairs)


@dataclass(frozen=True)
class Matched:
    """What a loss term is computed from: predictions of L decoder layers and who learns which object.

    Attributes:
        logits: ``[L, B, Q, K]``.
        boxes_cxcywh_norm: ``[L, B, Q, 4]``.
        targets: B dicts with ``class_labels int64 [N]`` and ``boxes_cxcywh_norm [N, 4]``.
        matches: the M pairs of all layers.
        normalizers: of the whole optimizer step.
        settings: of the criterion.
        class_weights: ``float32 [C]``; None: 1 for every class.
        masks: of the last layer's pairs, in stage 2.
        real: ``bool [B, Q]``, the queries that count; None: all.
    """

    logits: Tensor
    boxes_cxcywh_norm: Tensor
    targets: Sequence[Mapping]
    matches: Matches
    normalizers: Normalizers
    settings: LossSettings
    class_weights: Tensor | None = None
    masks: MatchedMasks | None = None
    real: Tensor | None = None

    def of_objects(self, key: str) -> Tensor:
        """``targets[image][key][object]`` for each pair, ``[M, ...]``."""
        counts = torch.tensor([0] + [len(target[key]) for target in self.targets[:-1]])
        first = counts.to(self.matches.image.device).cumsum(0)  # of each image in the concatenation
        return torch.cat([target[key] for target in self.targets])[
            first[self.matches.image] + self.matches.object_index
        ]

    @cached_property
    def boxes(self) -> tuple[Tensor, Tensor]:
        """Predicted and true boxes of the pairs, ``[M, 4]`` each."""
        matches = self.matches
        predicted = self.boxes_cxcywh_norm[matches.layer, matches.image, matches.query]
        return predicted, self.of_objects("boxes_cxcywh_norm").to(predicted)

    def per_layer(self, of_pairs: Tensor) -> Tensor:
        """Values of the pairs, ``[M]``, summed over each layer and divided by the step's objects, ``[L]``."""
        zeros = of_pairs.new_zeros(len(self.logits))
        return zeros.index_add(0, self.matches.layer, of_pairs) / max(self.normalizers.objects, 1.0)

    def over_masks(self, of_image: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The sum over images of a function of (logits, truth), divided by the step's objects, ``[1]``."""
        assert self.masks is not None, "a mask term without masks"
        total = self.masks.logits.sum() * 0  # keeps the head in the graph when nothing is matched
        for logits, truth in self.masks.pairs:
            total = total + of_image(logits, truth)
        return total[None] / max(self.normalizers.objects, 1.0)


def class_loss(matched: Matched) -> Tensor:
    """Weighted cross-entropy of softmax heads: matched queries learn their object's class, others "no
    object", which is the last logit."""
    logits, matches, settings = matched.logits, matched.matches, matched.settings
    no_object = logits.shape[-1] - 1
    classes = torch.full(logits.shape[:3], no_object, dtype=torch.int64, device=logits.device)
    classes[matches.layer, matches.image, matches.query] = matched.of_objects("class_labels")
    weight = logits.new_ones(no_object + 1)
    if matched.class_weights is not None:
        weight[:no_object] = matched.class_weights
    weight[no_object] = settings.eos_coefficient
    # not reduction="mean": that would divide by the weights of this micro-batch, not of the step
    nll = functional.cross_entropy(logits.flatten(0, 2), classes.flatten(), weight, reduction="none")
    return nll.view(logits.shape[0], -1).sum(1) / max(matched.normalizers.class_weight_sum, 1e-6)


def sigmoid_class_loss(matched: Matched) -> Tensor:
    """Focal loss (Lin et al. 2017) of every query and class, over the step's objects (Zhu et al. 2021).

    A query counts with the class weight of the object that it is matched with.
    """
    logits, matches, settings = matched.logits, matched.matches, matched.settings
    pairs, classes = (matches.layer, matches.image, matches.query), matched.of_objects("class_labels")
    truth = torch.zeros_like(logits)
    truth[*pairs, classes] = 1
    loss = focal(logits, truth, settings.focal_alpha, settings.focal_gamma).sum(-1)  # [L, B, Q]
    if matched.class_weights is not None:
        weights = torch.ones_like(loss)
        weights[pairs] = matched.class_weights[classes]
        loss = loss * weights
    if matched.real is not None:
        loss = loss * matched.real
    return loss.flatten(1).sum(1) / max(matched.normalizers.objects, 1.0)


def focal(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017) of each logit, to be 1 or 0 as in ``truth``; shapes as given."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # 1 - p_t; clamped, for at 0 a gamma below 1 has no gradient
    missed = (logits.sigmoid() - truth).abs().clamp(min=1e-12)
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    return balance * cross_entropy * missed**gamma


def bbox_loss(matched: Matched) -> Tensor:
    """L1 of the four numbers of each matched box."""
    predicted, truth = matched.boxes
    return matched.per_layer((predicted - truth).abs().sum(-1))


def giou_loss(matched: Matched) -> Tensor:
    """1 - generalized IoU (Rezatofighi et al. 2019) of each matched box."""
    predicted, truth = matched.boxes
    giou = paired_giou(boxes_cxcywh_to_xyxy(predicted), boxes_cxcywh_to_xyxy(truth))
    return matched.per_layer(1 - giou)


def mask_loss(matched: Matched) -> Tensor:
    """Focal loss (Lin et al. 2017), the mean over the pixels of each matched mask."""
    alpha, gamma = matched.settings.focal_alpha, matched.settings.focal_gamma

    def mean_over_pixels(logits: Tensor, truth: Tensor) -> Tensor:  # [N, H, W] each
        return focal(logits, truth, alpha, gamma).flatten(1).mean(1).sum()

    return matched.over_masks(mean_over_pixels)


def dice_loss(matched: Matched) -> Tensor:
    """1 - dice (Milletari et al. 2016) of each matched mask, smoothed by one pixel as in the reference."""

    def dice(logits: Tensor, truth: Tensor) -> Tensor:  # [N, H, W] each
        probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
        overlap = 2 * (probability * truth).sum(1)
        return (1 - (overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).sum()

    return matched.over_masks(dice)


@dataclass(frozen=True)
class LossTerm:
    """A row of the criterion's table.

    Attributes:
        name: in logs.
        coefficient: of the term in the sum; a number, or the name of one of ``LossSettings``.
        function: ``Matched`` to ``[L]``, or to ``[1]`` where only the last layer has the term.
    """

    name: str
    coefficient: str | float
    function: Callable[[Matched], Tensor]


_BOXES = (
    LossTerm("loss_bbox", "bbox_loss_coefficient", bbox_loss),
    LossTerm("loss_giou", "giou_loss_coefficient", giou_loss),
)
BOX_TERMS = (LossTerm("loss_ce", "class_loss_coefficient", class_loss), *_BOXES)
SIGMOID_BOX_TERMS = (LossTerm("loss_ce", "class_loss_coefficient", sigmoid_class_loss), *_BOXES)
"""What a detector learns from, after every decoder layer, with either kind of ``ClassScores``."""

MASK_TERMS = (
    LossTerm("loss_mask", "mask_loss_coefficient", mask_loss),
    LossTerm("loss_dice", "dice_loss_coefficient", dice_loss),
)
"""What a mask head learns from, of the last decoder layer's matches."""
