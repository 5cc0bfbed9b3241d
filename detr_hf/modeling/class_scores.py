"""What the class logits of a query mean: one softmax with a "no object" logit, or a sigmoid for each class.

A family has one of the two (``Family.scores``); everything that differs between them stands here, but for the
class loss, which is a row of the criterion's table.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

LIKELIEST = 100
"""So many pairs of query and class are kept where one query may stand for several classes, as in Deformable
DETR's post-processing and in COCO's evaluation."""

TINY = 1e-8  # added before a logarithm, as in the reference


class ClassScores(Protocol):
    """The reading of logits ``[..., K]`` of K = C classes, or C + 1 with "no object".

    Attributes:
        has_no_object: whether the last logit is "no object".
        usual_threshold: score from 0 to 1 above which a box is shown where nobody says otherwise.
    """

    has_no_object: bool
    usual_threshold: float

    def probabilities(self, logits: Tensor) -> Tensor:
        """``[..., K]`` to ``float32 [..., C]``: how likely each class is, "no object" left out."""

    def distribution(self, logits: Tensor) -> Tensor:
        """``[..., K]`` to ``float32 [..., C + 1]``: shares of the classes and, last, of "no object".

        They add up to 1, so that doubt is measured alike in every family.
        """

    def is_object(self, logits: Tensor) -> Tensor:
        """``[..., K]`` to ``bool [...]``: False where "no object" is likelier than every class."""

    def class_cost(self, logits: Tensor, alpha: float, gamma: float) -> Tensor:
        """``[..., K]`` to ``float32 [..., C]``: what it costs to match a query with an object of each class.

        Args:
            logits: of every query.
            alpha: of a focal loss, where the cost follows one.
            gamma: as ``alpha``.
        """

    def ranked(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, Q, K]`` to what is found in each image, best first: scores, queries, labels ``[B, N]``.

        The order of equal scores is the same everywhere.
        """

    def most_objects(self, num_queries: int) -> int:
        """So many objects of an image can be found by so many queries."""


class Softmax:
    """Classes exclude each other, and "no object" is the last logit (Carion et al. 2020)."""

    has_no_object = True
    usual_threshold = 0.85

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over all classes and "no object"."""
        return logits.float().softmax(-1)[..., :-1]

    def distribution(self, logits: Tensor) -> Tensor:
        """The softmax."""
        return logits.float().softmax(-1)

    def is_object(self, logits: Tensor) -> Tensor:
        """Asked of the logits: they are the same in every runtime to more digits than probabilities are."""
        return logits[..., :-1].amax(-1) >= logits[..., -1]

    def class_cost(self, logits: Tensor, alpha: float, gamma: float) -> Tensor:
        """Minus the probability."""
        return -self.probabilities(logits)

    def ranked(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every query once, as the best of its classes."""
        scores, labels = self.probabilities(logits).max(-1)
        scores, queries = scores.sort(stable=True, dim=-1, descending=True)
        return scores, queries, labels.gather(-1, queries)

    def most_objects(self, num_queries: int) -> int:
        """One a query."""
        return num_queries


class Sigmoid:
    """Every class has a probability of its own (Zhu et al. 2021); where all are low, there is no object."""

    has_no_object = False
    usual_threshold = 0.4

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoids."""
        return logits.float().sigmoid()

    def distribution(self, logits: Tensor) -> Tensor:
        """Sigmoids beside the probability that the likeliest class is not there, scaled to a sum of 1."""
        there = self.probabilities(logits)
        shares = torch.cat([there, 1 - there.amax(-1, keepdim=True)], -1)
        return shares / shares.sum(-1, keepdim=True)

    def is_object(self, logits: Tensor) -> Tensor:
        """True: no class stands against the others."""
        return torch.ones_like(logits[..., 0], dtype=torch.bool)

    def class_cost(self, logits: Tensor, alpha: float, gamma: float) -> Tensor:
        """The focal loss (Lin et al. 2017) of the class being there, less that of its not being there."""
        probability = self.probabilities(logits)
        there = -alpha * (1 - probability) ** gamma * (probability + TINY).log()
        absent = -(1 - alpha) * probability**gamma * (1 - probability + TINY).log()
        return there - absent

    def ranked(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ``LIKELIEST`` pairs of query and class; a query may be there under several classes."""
        classes = logits.shape[-1]
        scores, pairs = self.probabilities(logits).flatten(1).sort(stable=True, dim=-1, descending=True)
        scores, pairs = scores[:, :LIKELIEST], pairs[:, :LIKELIEST]
        return scores, pairs // classes, pairs % classes

    def most_objects(self, num_queries: int) -> int:
        """One a query, and as many as are kept."""
        return min(num_queries, LIKELIEST)


SOFTMAX, SIGMOID = Softmax(), Sigmoid()
