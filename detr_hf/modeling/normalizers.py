"""What losses are divided by: known before any forward pass, because it depends on the targets alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalizers:
    """What the terms of one optimizer step are divided by, summed over its micro-batches and processes.

    Attributes:
        objects: number of objects; the divisor of the box and mask terms.
        class_weight_sum: sum of the class weights over all queries; the divisor of the class term. It is what
            ``cross_entropy(weight=...)`` divides by, taken over the step instead of one process's batch.
    """

    objects: float
    class_weight_sum: float

    @classmethod
    def of_targets(
        cls,
        targets: Sequence[Mapping],
        num_queries: int,
        eos_coefficient: float,
        class_weights: Tensor | None = None,
    ) -> Normalizers:
        """The share of one (micro-)batch; add the shares up with ``+``.

        Where an image has more objects than there are queries, which of them are matched is not known yet:
        each query then counts with the mean weight of the image's objects.
        """
        counts = [len(target["class_labels"]) for target in targets]
        matched = sum(min(count, num_queries) for count in counts)
        unmatched = num_queries * len(counts) - matched
        weight = float(matched)
        if class_weights is not None and counts:
            sums = [class_weights[target["class_labels"]].sum() for target in targets]
            of_objects = torch.stack(sums).tolist()  # one copy from the device
            shares = [min(1.0, num_queries / max(count, 1)) for count in counts]
            weight = sum(total * share for total, share in zip(of_objects, shares, strict=True))
        return cls(float(sum(counts)), weight + eos_coefficient * unmatched)

    def __add__(self, other: Normalizers) -> Normalizers:
        return Normalizers(self.objects + other.objects, self.class_weight_sum + other.class_weight_sum)
