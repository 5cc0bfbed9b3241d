"""Bipartite matching of queries to objects (Carion et al. 2020, section 3.1 and appendix A.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detr_hf.geometry import boxes_cxcywh_to_xyxy, pairwise_giou


@dataclass(frozen=True)
class MatchingCosts:
    """Weights of the three matching costs; DETR's own by default."""

    class_cost: float = 1.0
    bbox_cost: float = 5.0
    giou_cost: float = 2.0


@dataclass(frozen=True)
class Matches:
    """M matched (query, object) pairs over all decoder layers and images, as index tensors ``int64 [M]``.

    ``object_index`` counts objects within their own image. Pairs are ordered by layer, then image, then
    query.
    """

    layer: Tensor
    image: Tensor
    query: Tensor
    object_index: Tensor

    def of_layer(self, layer: int) -> Matches:
        """The pairs of one decoder layer."""
        keep = (self.layer == layer).nonzero()[:, 0]  # a boolean index makes a GPU wait, here four times
        return Matches(self.layer[keep], self.image[keep], self.query[keep], self.object_index[keep])


@torch.no_grad()
def match(
    class_cost: Tensor, boxes_cxcywh_norm: Tensor, targets: Sequence[Mapping], costs: MatchingCosts
) -> Matches:
    """Assign to every object the query that predicts it best, each query at most once.

    Follows the reference: the class cost is that of ``ClassScores``, the box costs are L1 and generalized
    IoU. Only the queries and objects of the same image meet, and the costs of all layers
    travel to the host in one copy. With more objects than queries every query is matched and the
    worst-fitting objects go without; an image without objects has no pairs. A cost that is not finite (a
    diverged model) is replaced by one worse than any other, so that the loss, not the assignment, reports the
    fault.

    Args:
        class_cost: ``[L, B, Q, C]`` of each class, after L decoder layers.
        boxes_cxcywh_norm: ``[L, B, Q, 4]``.
        targets: one dict an image with ``class_labels int64 [N]`` and ``boxes_cxcywh_norm [N, 4]``.
        costs: the three weights.

    Returns:
        The matched pairs, on the device of ``class_cost``; min(N, Q) for each layer and image.
    """
    layers, batch = class_cost.shape[:2]
    counts = [len(target["class_labels"]) for target in targets]
    pairs: list[tuple[int, int, int, int]] = []
    if max(counts, default=0) > 0:
        blocks = _cost_blocks(class_cost.float(), boxes_cxcywh_norm.float(), targets, costs)
        cost = blocks.cpu().numpy()  # the one copy: on a GPU each would wait for all that was computed so far
        for layer in range(layers):
            for image in range(batch):
                # without the columns that only pad the image to the batch's largest number of objects
                rows, columns = linear_sum_assignment(cost[layer, image, :, : counts[image]])
                pairs.extend(
                    (layer, image, int(row), int(column)) for row, column in zip(rows, columns, strict=True)
                )
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 4).to(class_cost.device)
    return Matches(*index.unbind(1))


def _cost_blocks(
    class_cost: Tensor, boxes: Tensor, targets: Sequence[Mapping], costs: MatchingCosts
) -> Tensor:
    """Costs ``[L, B, Q, max N]``: only the diagonal blocks of the reference's matrix, padded."""
    layers, _, queries, _ = class_cost.shape
    labels = pad_sequence([target["class_labels"] for target in targets], batch_first=True)
    truth = pad_sequence([target["boxes_cxcywh_norm"].float() for target in targets], batch_first=True)
    # [B, N] -> [L, B, Q, N]: of every query the cost of each object's class
    of_class = class_cost.gather(-1, labels[None, :, None, :].expand(layers, -1, queries, -1))
    l1 = torch.cdist(boxes, truth.expand(layers, -1, -1, -1), p=1)
    giou = pairwise_giou(boxes_cxcywh_to_xyxy(boxes), boxes_cxcywh_to_xyxy(truth))
    cost = costs.bbox_cost * l1 + costs.class_cost * of_class - costs.giou_cost * giou
    return torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=1e6)
