"""Query groups: further sets of queries that learn beside a detector's own (Chen et al. 2023, Group DETR).

One query an object is all the supervision that a DETR has. Here several sets of queries pass through the same
decoder and heads without seeing one another, and each is matched with all objects by itself. Only the model's
own set is saved, and it alone predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detr_hf.errors import UserError
from detr_hf.modeling.families.base import DetectorOutput, Family
from detr_hf.modeling.families.shared import new_queries

AWAY = 0.6
"""How far further queries start from the model's own, as a share of how far those are spread.

Those know where to look, and groups may be alike, for they do not see one another. The demo's first 150 steps
with two seeds: AP 0.549 and 0.553 without groups, 0.527 and 0.547 with all new ones, 0.560 and 0.580 so.
"""


class QueryGroups(nn.Module):
    """The queries of the further groups, and the passes through a detector with all of them.

    Args:
        family: of the detector.
        detector: shares its decoder and heads; as a model of its own it stays as it is.
        count: of groups, the model's own included.

    Raises:
        UserError: the queries of this detector are more, or something else, than rows of an embedding.
    """

    def __init__(self, family: Family, detector: Any, count: int):
        super().__init__()
        self.family, self.count = family, count
        name = family.query_embedding(detector.config)
        if name is None:
            raise UserError(
                "loss.query_groups: each query must be one learned embedding, but those of this "
                f"{family.name} are proposals, or combined with patterns; remove it."
            )
        self.name = name
        own = getattr(detector.model, self.name).weight.detach()
        self.queries = len(own)
        self.is_parted = False
        away = new_queries(own, (count - 1) * self.queries)
        self.further = nn.Parameter(own.repeat(count - 1, 1) + AWAY * away)
        for layer in detector.model.decoder.layers:
            layer.self_attn.register_forward_pre_hook(self._part, with_kwargs=True)
            layer.self_attn.register_forward_hook(self._join)

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """As ``Family.run``, with the outputs ``[G * L, B, Q, ...]``: a group is like further layers.

        The model's own group is the last one.
        """
        with self._beside(detector):
            found = self.family.run(detector, pixel_values, pixel_mask, all_layers)
        boxes = self._as_layers(found.boxes_cxcywh_norm)
        return replace(found, logits=self._as_layers(found.logits), boxes_cxcywh_norm=boxes)

    def _as_layers(self, outputs: Tensor) -> Tensor:
        return outputs.unflatten(2, (self.count, self.queries)).permute(2, 0, 1, 3, 4).flatten(0, 1)

    @contextmanager
    def _beside(self, detector: Any) -> Iterator[None]:
        """While open, the detector has the queries of all groups."""
        own = getattr(detector.model, self.name)
        every = nn.Module()
        every.weight = torch.cat([self.further, own.weight])  # no parameter: gradients reach both parts
        setattr(detector.model, self.name, every)
        try:
            yield
        finally:
            setattr(detector.model, self.name, own)

    def _part(self, module: nn.Module, inputs: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Groups become images of their own for the one step in which queries see one another.

        By the number of queries: it holds also when gradient checkpointing comes again in the backward pass,
        and not when the detector runs alone.
        """
        width = self.count * self.queries

        def parted(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.ndim != 3 or value.shape[1] != width:
                return value
            self.is_parted = True
            return value.unflatten(1, (self.count, self.queries)).flatten(0, 1)  # [B * G, Q, d]

        self.is_parted = False
        return tuple(map(parted, inputs)), {name: parted(value) for name, value in given.items()}

    def _join(self, module: nn.Module, inputs: tuple, outputs: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        hidden, *others = outputs
        return (hidden.unflatten(0, (-1, self.count)).flatten(1, 2) if self.is_parted else hidden, *others)
